// SPDX-License-Identifier: BSD-3-Clause

package zvsock

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"
)

const port = 1234

// Two devices of the zvsockd whose client socket ZVSOCK_TEST_URI names.
func pair(t *testing.T) (a, b *Device) {
	t.Helper()
	uri := os.Getenv("ZVSOCK_TEST_URI")
	if uri == "" {
		t.Skip("ZVSOCK_TEST_URI names no device")
	}
	a, err := Open(uri, nil)
	if err != nil {
		t.Fatal(err)
	}
	b, err = Open(uri, &Options{Queues: 2})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		a.Close()
		b.Close()
	})
	return a, b
}

func connected(t *testing.T, a, b *Device, kind Type) (x, y *Conn) {
	t.Helper()
	l, err := b.Listen(port, kind)
	if err != nil {
		t.Fatal(err)
	}
	x, err = a.Dial(CIDLocal, port, kind)
	if err != nil {
		t.Fatal(err)
	}
	y, err = l.AcceptConn()
	if err != nil {
		t.Fatal(err)
	}
	if err = l.Close(); err != nil {
		t.Fatal(err)
	}
	return x, y
}

func TestBytesGoBothWays(t *testing.T) {
	a, b := pair(t)
	x, y := connected(t, a, b, Stream)
	sent := bytes.Repeat([]byte("0123456789abcde"), 100000)
	go func() {
		io.Copy(y, y) // echo
		y.Close()
	}()
	go func() {
		x.Write(sent)
		x.CloseWrite()
	}()
	got, err := io.ReadAll(x)
	if err != nil || !bytes.Equal(got, sent) {
		t.Fatalf("%d of %d bytes came back: %v", len(got), len(sent), err)
	}
	x.Close()
	if x.Channel() {
		t.Fatal("a closed connection has a channel")
	}
	if x.RemoteAddr().String() != "1:1234" || y.LocalAddr().(Addr).Port != port {
		t.Fatal(x.RemoteAddr(), y.LocalAddr())
	}
}

func TestMessagesKeepTheirBounds(t *testing.T) {
	a, b := pair(t)
	x, y := connected(t, a, b, SeqPacket)
	for _, m := range []string{"one", "second", "3"} {
		if _, err := x.Write([]byte(m)); err != nil {
			t.Fatal(err)
		}
	}
	for _, m := range []string{"one", "second", "3"} {
		buf := make([]byte, 100)
		if n, err := y.Read(buf); err != nil || string(buf[:n]) != m {
			t.Fatal(string(buf[:n]), err)
		}
	}
}

func TestBuffersWithoutACopy(t *testing.T) {
	a, b := pair(t)
	x, y := connected(t, a, b, Stream)
	bufs, err := x.Alloc(1, 1000)
	if err != nil {
		t.Fatal(err)
	}
	bufs[0].Data = bufs[0].Data[:copy(bufs[0].Data, "in place")]
	if err = x.Send(bufs); err != nil {
		t.Fatal(err)
	}
	if err = x.Send(bufs); err == nil {
		t.Fatal("sent twice")
	}
	got, err := y.Recv(10)
	if err != nil || string(got[0].Data) != "in place" {
		t.Fatal(got, err)
	}
	got[0].Release()
	got[0].Release()
	x.Close()
	if _, err = y.Recv(10); err != io.EOF {
		t.Fatal(err)
	}
}

func TestFailures(t *testing.T) {
	a, b := pair(t)
	if _, err := Open("nothing:", nil); !errors.Is(err, syscall.EPROTONOSUPPORT) {
		t.Fatal(err)
	}
	_, err := a.Dial(CIDLocal, 4321, Stream)
	if !errors.Is(err, syscall.ECONNREFUSED) && !errors.Is(err, syscall.ECONNRESET) {
		t.Fatal(err)
	}
	x, y := connected(t, a, b, Stream)
	y.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
	if _, err = y.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal(err)
	}
	y.SetReadDeadline(time.Time{})
	x.Reset()
	if _, err = y.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Fatal(err)
	}
	x, y = connected(t, a, b, Stream)
	done := make(chan error)
	go func() {
		_, err := y.Read(make([]byte, 1))
		done <- err
	}()
	b.Close()
	if err = <-done; !errors.Is(err, net.ErrClosed) {
		t.Fatal(err)
	}
	if _, err = y.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
		t.Fatal(err)
	}
	if _, err = b.Dial(CIDLocal, port, Stream); !errors.Is(err, net.ErrClosed) {
		t.Fatal(err)
	}
	x.Close()
}

func TestManyAtOnce(t *testing.T) {
	a, b := pair(t)
	l, err := b.Listen(port, Stream)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				io.Copy(c, c)
				c.Close()
			}()
		}
	}()
	var all sync.WaitGroup
	for i := 0; i < 100; i++ {
		all.Add(1)
		go func(i int) {
			defer all.Done()
			c, err := a.Dial(CIDLocal, port, Stream)
			if err != nil {
				t.Error(err)
				return
			}
			want := bytes.Repeat([]byte{byte(i)}, 1000+i)
			c.Write(want)
			c.CloseWrite()
			got, err := io.ReadAll(c)
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("%d: %d bytes, %v", i, len(got), err)
			}
			c.Close()
		}(i)
	}
	all.Wait()
	l.Close()
}
