// SPDX-License-Identifier: BSD-3-Clause

// ttrpc over AF_VSOCK, as the agent of Kata Containers and its client speak it, by containerd's package.
//
//	ttrpc server PORT              serves until it is killed
//	ttrpc client CID PORT N CONNS  N calls at once, over CONNS connections, then what goes wrong
package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"

	"github.com/containerd/ttrpc"
	"github.com/gogo/protobuf/types"
	"github.com/mdlayher/vsock"
)

const service = "zvsock.test.Echo"

func must(err error, what string) {
	if err != nil {
		fmt.Println(what, err)
		os.Exit(1)
	}
}

func number(s string) uint32 {
	n, err := strconv.ParseUint(s, 10, 32)
	must(err, "number")
	return uint32(n)
}

func twice(_ context.Context, unmarshal func(interface{}) error) (interface{}, error) {
	var in types.StringValue
	if err := unmarshal(&in); err != nil {
		return nil, err
	}
	return &types.StringValue{Value: in.Value + in.Value}, nil
}

func never(ctx context.Context, unmarshal func(interface{}) error) (interface{}, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func server(port uint32) {
	l, err := vsock.Listen(port, nil)
	must(err, "listen")
	s, err := ttrpc.NewServer()
	must(err, "server")
	s.Register(service, map[string]ttrpc.Method{"Twice": twice, "Never": never})
	fmt.Println("listening", l.Addr())
	must(s.Serve(context.Background(), l), "serve")
}

func client(cid, port uint32, n, conns int) {
	clients := make([]*ttrpc.Client, conns)
	for i := range clients {
		conn, err := vsock.Dial(cid, port, nil)
		must(err, "dial")
		clients[i] = ttrpc.NewClient(conn)
	}
	var all sync.WaitGroup
	for i := 0; i < n; i++ {
		all.Add(1)
		go func(i int) {
			defer all.Done()
			text := strings.Repeat(fmt.Sprint(i), 10000)
			var out types.StringValue
			must(clients[i%conns].Call(context.Background(), service, "Twice", &types.StringValue{Value: text}, &out), "call")
			if out.Value != text+text {
				must(fmt.Errorf("call %d", i), "other bytes came back:")
			}
		}(i)
	}
	all.Wait()
	c := clients[0]
	var out types.StringValue
	ctx, cancel := context.WithCancel(context.Background())
	go cancel()
	if err := c.Call(ctx, service, "Never", &types.StringValue{}, &out); err == nil {
		must(fmt.Errorf("it succeeded"), "a call that was cancelled:")
	}
	if err := c.Call(context.Background(), service, "None", &types.StringValue{}, &out); err == nil || !strings.Contains(err.Error(), "None") {
		must(fmt.Errorf("%v", err), "a method that is not there:")
	}
	for _, c := range clients {
		must(c.Close(), "close")
	}
	fmt.Println(n, "ok")
}

func main() {
	if os.Args[1] == "server" {
		server(number(os.Args[2]))
		return
	}
	client(number(os.Args[2]), number(os.Args[3]), int(number(os.Args[4])), int(number(os.Args[5])))
}
