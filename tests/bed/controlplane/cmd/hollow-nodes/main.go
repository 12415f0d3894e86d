// Command hollow-nodes makes Node objects without machines and keeps them fresh until it is told to end (package hollow).
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"controlplane/internal/hollow"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintf(os.Stderr, "hollow-nodes: %v\n", err)
		os.Exit(1)
	}
}

func run() error {
	var options hollow.Options
	kubeconfig := flag.String("kubeconfig", "", "file with access to the API server")
	flag.IntVar(&options.Count, "count", 50, "how many nodes")
	flag.StringVar(&options.Prefix, "prefix", "hollow-", "what names begin with; a number from 0 follows")
	flag.IntVar(&options.Images, "images", 50, "container images that each node lists")
	flag.StringVar(&options.ProviderID, "provider-id", "", "spec.providerID, with %s for the name of the node; none when empty")
	flag.DurationVar(&options.LeaseInterval, "lease-interval", 10*time.Second, "time between two renewals of a node's Lease")
	flag.DurationVar(&options.StatusInterval, "status-interval", 5*time.Minute, "time between two reports of a node's status")
	flag.IntVar(&options.Workers, "workers", 8, "requests made at once")
	cleanup := flag.Bool("cleanup", false, "delete the nodes at the end")
	flag.Parse()
	switch {
	case flag.NArg() > 0:
		return fmt.Errorf("unexpected argument %q", flag.Arg(0))
	case *kubeconfig == "":
		return fmt.Errorf("--kubeconfig is needed")
	case options.Count < 0 || options.Images < 0 || options.Workers < 1:
		return fmt.Errorf("--count and --images must not be negative, --workers not less than 1")
	case options.LeaseInterval < time.Second || options.StatusInterval < time.Second:
		return fmt.Errorf("--lease-interval and --status-interval must be at least 1s")
	case options.ProviderID != "" && (strings.Count(options.ProviderID, "%") != 1 || !strings.Contains(options.ProviderID, "%s")):
		return fmt.Errorf("--provider-id %q must contain %%s once and no other %%", options.ProviderID)
	}
	config, err := clientcmd.BuildConfigFromFlags("", *kubeconfig)
	if err != nil {
		return fmt.Errorf("--kubeconfig: %w", err)
	}
	config.QPS, config.UserAgent = -1, "hollow-nodes"
	// Protobuf costs the API server and this process a fraction of what JSON does.
	config.ContentType, config.AcceptContentTypes = "application/vnd.kubernetes.protobuf", "application/vnd.kubernetes.protobuf,application/json"
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	log := func(format string, arguments ...any) {
		fmt.Fprintf(os.Stderr, "hollow-nodes: "+format+"\n", arguments...)
	}
	nodes := hollow.New(options, client, log)
	started := time.Now()
	// Being told to end while still creating is no failure.
	if err = nodes.Create(ctx); ctx.Err() != nil {
		err = nil
	}
	if err == nil {
		// Whoever started this may wait for the line.
		fmt.Printf("created %d nodes in %s\n", options.Count, time.Since(started).Round(time.Millisecond))
		nodes.Keep(ctx)
	}
	if *cleanup {
		// The first signal has ended ctx; a second one, or a minute, ends this too.
		stop()
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if failed := nodes.Delete(ctx); failed != nil {
			return errors.Join(err, failed)
		}
		log("deleted %d nodes", options.Count)
	}
	return err
}
