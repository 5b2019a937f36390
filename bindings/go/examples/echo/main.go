// SPDX-License-Identifier: BSD-3-Clause

// Echo over zvsock: echo serve URI PORT, or echo send URI CID PORT with standard input.
package main

import (
	"fmt"
	"io"
	"os"
	"strconv"

	"zvsock"
)

func number(s string) uint64 {
	n, err := strconv.ParseUint(s, 10, 64)
	check(err)
	return n
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "echo:", err)
		os.Exit(1)
	}
}

func answer(c *zvsock.Conn) {
	defer c.Close()
	for {
		bufs, err := c.Recv(16)
		if err != nil {
			return
		}
		for _, b := range bufs {
			_, err = c.Write(b.Data)
			b.Release()
		}
		if err != nil {
			return
		}
	}
}

func serve(uri string, port uint32) {
	dev, err := zvsock.Open(uri, nil)
	check(err)
	l, err := dev.Listen(port, zvsock.Stream)
	check(err)
	fmt.Println("listening")
	for {
		c, err := l.AcceptConn()
		check(err)
		go answer(c)
	}
}

func send(uri string, cid uint64, port uint32) {
	dev, err := zvsock.Open(uri, nil)
	check(err)
	c, err := dev.Dial(cid, port, zvsock.Stream)
	check(err)
	go func() {
		_, err := io.Copy(c, os.Stdin)
		check(err)
		check(c.CloseWrite())
	}()
	_, err = io.Copy(os.Stdout, c)
	check(err)
	check(c.Close())
	check(dev.Close())
}

func main() {
	switch {
	case len(os.Args) == 4 && os.Args[1] == "serve":
		serve(os.Args[2], uint32(number(os.Args[3])))
	case len(os.Args) == 5 && os.Args[1] == "send":
		send(os.Args[2], number(os.Args[3]), uint32(number(os.Args[4])))
	default:
		fmt.Fprintln(os.Stderr, "usage: echo serve URI PORT | echo send URI CID PORT")
		os.Exit(2)
	}
}
