// Go's net: a goroutine a connection.
//
// The form of Go's fast servers: one buffer a connection instead of a
// bufio.Reader and a bufio.Writer, so that all the whole frames a read brought
// go back in one Write, from where they lie. A client that does not read
// holds up its own goroutine alone. The runtime raises the limit of
// descriptors, sets TCP_NODELAY, ignores SIGPIPE on sockets and takes the
// backlog from the kernel's net.core.somaxconn.
package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log"
	"net"
	"os"
	"time"
)

const (
	headerLen  = 4
	payloadMax = 64 << 20
	// Where a buffer begins; it doubles for as long as frames do not fit.
	room = 4 << 10
)

var errTooLong = errors.New("the frame is too long")

func main() {
	port := "0"
	if len(os.Args) > 1 {
		port = os.Args[1]
	}
	listener, err := net.Listen("tcp4", "127.0.0.1:"+port)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("listening on", listener.Addr())
	for {
		conn, err := listener.Accept()
		if err != nil {
			// Most likely too many descriptors: some client will end.
			time.Sleep(time.Millisecond)
			continue
		}
		go echo(conn)
	}
}

// echo ends with the connection; the client is told by that.
func echo(conn net.Conn) {
	defer conn.Close()
	buffer := make([]byte, room)
	filled := 0
	for {
		if filled == len(buffer) {
			buffer = append(buffer, make([]byte, filled)...)
		}
		received, err := conn.Read(buffer[filled:])
		if err != nil {
			return
		}
		filled += received
		whole, err := wholeFrames(buffer[:filled])
		if err != nil {
			return
		}
		if whole == 0 {
			continue
		}
		if _, err := conn.Write(buffer[:whole]); err != nil {
			return
		}
		filled = copy(buffer, buffer[whole:filled])
	}
}

// wholeFrames says how many of these bytes are whole frames.
func wholeFrames(bytes []byte) (int, error) {
	end := 0
	for len(bytes)-end >= headerLen {
		payloadLen := binary.BigEndian.Uint32(bytes[end:])
		if payloadLen > payloadMax {
			return 0, errTooLong
		}
		next := end + headerLen + int(payloadLen)
		if next > len(bytes) {
			break
		}
		end = next
	}
	return end, nil
}
