// SPDX-License-Identifier: BSD-3-Clause

// An AF_VSOCK program in Go, as one writes it on the mdlayher package.
//
//	echo client PORT N [CID]    N goroutines, each with a connection to CID 3, or CID
//	echo server PORT N          N connections, each with a goroutine
package main

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"sync"

	"github.com/mdlayher/vsock"
)

func must(err error, what string) {
	if err != nil {
		fmt.Println(what, err)
		os.Exit(1)
	}
}

func client(cid, port uint32, i int) {
	c, err := vsock.Dial(cid, port, nil)
	must(err, "dial")
	defer c.Close()
	text := fmt.Sprintf("this is %d", i)
	_, err = io.WriteString(c, text)
	must(err, "write")
	must(c.CloseWrite(), "shutdown")
	back, err := io.ReadAll(c)
	must(err, "read")
	if string(back) != text {
		must(fmt.Errorf("%q", back), "other bytes came back:")
	}
}

func main() {
	port, err := strconv.ParseUint(os.Args[2], 10, 32)
	must(err, "port")
	n, err := strconv.Atoi(os.Args[3])
	must(err, "number")
	cid := uint64(3)
	if len(os.Args) > 4 {
		cid, err = strconv.ParseUint(os.Args[4], 10, 32)
		must(err, "CID")
	}
	var all sync.WaitGroup
	if os.Args[1] == "client" {
		for i := 0; i < n; i++ {
			all.Add(1)
			go func(i int) {
				defer all.Done()
				client(uint32(cid), uint32(port), i)
			}(i)
		}
		all.Wait()
		fmt.Println(n, "ok")
		return
	}
	l, err := vsock.Listen(uint32(port), nil) // opens /dev/vsock
	must(err, "listen")
	fmt.Println("listening", l.Addr())
	for i := 0; i < n; i++ {
		c, err := l.Accept()
		must(err, "accept")
		fmt.Println("peer", c.RemoteAddr().(*vsock.Addr).ContextID)
		all.Add(1)
		go func() {
			defer all.Done()
			_, err := io.Copy(c, c)
			must(err, "copy")
			c.Close()
		}()
	}
	all.Wait()
}
