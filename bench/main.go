// Command bench compares this library with others.
package main

func main() {}
