// helloworld-go answers every request with a greeting: the sample of the article that the gateway's users come from.
package main

import (
	"fmt"
	"log"
	"net/http"
	"os"
)

func main() {
	port, target := os.Getenv("PORT"), os.Getenv("TARGET")
	if port == "" {
		port = "8080"
	}
	if target == "" {
		target = "World"
	}
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { fmt.Fprintf(w, "Hello %s!\n", target) })
	log.Fatal(http.ListenAndServe(":"+port, nil))
}
