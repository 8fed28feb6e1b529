package ent

// To generate this package again: go generate ./ent
//go:generate go run -mod=mod entgo.io/ent/cmd/ent generate ./schema
