// Plays the part of a node that `kubectl port-forward` needs: the API server sends a client's bytes here by the protocol
// of kubelets, and they go on to a port on the loopback of the pod's own network, as they do on a real node.
package main

import (
	"context"
	"errors"
	"flag"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/cri-streaming/pkg/streaming/portforward"
)

const (
	idleTime    = 4 * time.Hour // a kubelet's default
	openingTime = 30 * time.Second
)

// node finds the network of a pod by the pod's name in a folder, where `ip netns` keeps them.
type node struct{ networks string }

// PortForward connects a client with a port of a pod until the pod has said all that it has to say.
func (n node) PortForward(ctx context.Context, pod, _ string, port int32, client io.ReadWriteCloser) error {
	defer client.Close()
	server, err := n.dial(ctx, pod, port)
	if err != nil {
		return err
	}
	defer server.Close()
	go func() {
		_, _ = io.Copy(server, client)
		_ = server.(*net.TCPConn).CloseWrite()
	}()
	_, err = io.Copy(client, server)
	return err
}

func (n node) dial(ctx context.Context, pod string, port int32) (server net.Conn, err error) {
	network, err := os.Open(filepath.Join(n.networks, filepath.Base(pod)))
	if err != nil {
		return nil, err
	}
	defer network.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		// Never unlocked: this thread has left the node's network and must end with this function.
		runtime.LockOSThread()
		if err = unix.Setns(int(network.Fd()), unix.CLONE_NEWNET); err == nil {
			address := net.JoinHostPort("127.0.0.1", strconv.Itoa(int(port)))
			server, err = new(net.Dialer).DialContext(ctx, "tcp4", address)
		}
	}()
	<-done
	return server, err
}

func main() {
	listen := flag.String("listen", "", "HOST:PORT that the API server connects to")
	certificate := flag.String("certificate", "", "PEM file")
	key := flag.String("key", "", "PEM file")
	networks := flag.String("networks", "/run/netns", "folder with the pods' network namespaces, by pod name")
	flag.Parse()
	if *listen == "" || *certificate == "" || *key == "" {
		log.Fatal(errors.New("-listen, -certificate and -key are needed"))
	}
	here := node{*networks}
	http.HandleFunc("/portForward/{namespace}/{pod}", func(w http.ResponseWriter, r *http.Request) {
		options, err := portforward.NewV4Options(r)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		pod := r.PathValue("pod")
		portforward.ServePortForward(w, r, here, pod, "", options, idleTime, openingTime, portforward.SupportedProtocols)
	})
	log.Fatal(http.ListenAndServeTLS(*listen, *certificate, *key, nil))
}
