// SPDX-License-Identifier: BSD-3-Clause

// A TCP program in Go, which makes its own system calls and has its own resolver: it knows nothing of zvsock.
//
//	get ADDRESS PATH N   GETs it N times at once, by HTTP; prints the length of each answer
//	get ADDRESS          what Dial says: the error, or the two addresses of the connection
package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

func must(err error) {
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

func dial(address string) *net.TCPConn {
	c, err := net.DialTimeout("tcp", address, 50*time.Second)
	must(err)
	return c.(*net.TCPConn)
}

func get(address, path string) {
	c := dial(address)
	defer c.Close()
	must(c.SetDeadline(time.Now().Add(50 * time.Second)))
	_, err := fmt.Fprintf(c, "GET %s HTTP/1.0\r\n\r\n", path)
	must(err)
	must(c.CloseWrite())
	all, err := io.ReadAll(c)
	must(err)
	_, body, _ := strings.Cut(string(all), "\r\n\r\n")
	fmt.Println(len(body))
}

func main() {
	if len(os.Args) == 2 {
		c := dial(os.Args[1])
		must(c.SetNoDelay(true))
		must(c.SetKeepAlivePeriod(time.Minute))
		fmt.Println(c.LocalAddr(), c.RemoteAddr())
		return
	}
	n, err := strconv.Atoi(os.Args[3])
	must(err)
	var all sync.WaitGroup
	for i := 0; i < n; i++ {
		all.Add(1)
		go func() {
			defer all.Done()
			get(os.Args[1], os.Args[2])
		}()
	}
	all.Wait()
}
