module github.com/asidecache/aside

go 1.25.0

require (
	github.com/alicebob/miniredis/v2 v2.40.0
	github.com/go-json-experiment/json v0.0.0-20250223041408-d3c622f1b874
	github.com/maypok86/otter/v2 v2.4.0
	github.com/redis/go-redis/v9 v9.18.0
	go.uber.org/goleak v1.2.1
	golang.org/x/sync v0.1.0
)

require (
	github.com/cespare/xxhash/v2 v2.3.0 // indirect
	github.com/dgryski/go-rendezvous v0.0.0-20200823014737-9f7001d12a5f // indirect
	github.com/yuin/gopher-lua v1.1.1 // indirect
	go.uber.org/atomic v1.11.0 // indirect
)
