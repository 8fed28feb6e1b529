// Command onecache is a program with one Cache. Its test looks at what the linker keeps of it.
package main

import (
	"context"
	"fmt"

	"github.com/redis/go-redis/v9"

	"github.com/asidecache/aside"
)

type row struct{ Name string }

//go:noinline
func (r row) IsCalled() string { return r.Name }

// IsNotCalled is in the program if the linker has to keep every exported method of every type.
//
//go:noinline
func (r row) IsNotCalled() string { return r.Name }

func main() {
	rdb := redis.NewClient(&redis.Options{Addr: "127.0.0.1:6379"})
	rows, err := aside.New(rdb, "row", func(_ context.Context, key string) (row, error) { return row{key}, nil })
	if err != nil {
		panic(err)
	}
	v, err := rows.Get(context.Background(), "a")
	fmt.Println(v.IsCalled(), err)
}
