// Package proof holds no code: the commands below it show that the library keeps its promises.
package proof
