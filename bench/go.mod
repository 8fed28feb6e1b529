module github.com/asidecache/aside/bench

go 1.26.0

require (
	github.com/asidecache/aside v0.0.0
	github.com/redis/go-redis/v9 v9.23.0
)

replace github.com/asidecache/aside => ../
