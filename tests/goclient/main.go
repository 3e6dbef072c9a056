// SPDX-License-Identifier: Apache-2.0

// goclient ADDRESS NAMESPACE IMAGE: the life of a container as a program on containerd's own client library leads it.
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"syscall"
	"time"

	"github.com/containerd/containerd"
	"github.com/containerd/containerd/cio"
	"github.com/containerd/containerd/namespaces"
	"github.com/containerd/containerd/oci"
)

func run(address, namespace, ref string) error {
	client, err := containerd.New(address)
	if err != nil {
		return err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(namespaces.WithNamespace(context.Background(), namespace), 60*time.Second)
	defer cancel()

	version, err := client.Version(ctx)
	if err != nil {
		return err
	}
	fmt.Println("version", version.Version)

	image, err := client.GetImage(ctx, ref)
	if err != nil {
		return err
	}
	if unpacked, err := image.IsUnpacked(ctx, containerd.DefaultSnapshotter); err != nil {
		return err
	} else if !unpacked {
		if err := image.Unpack(ctx, containerd.DefaultSnapshotter); err != nil {
			return err
		}
	}

	container, err := client.NewContainer(ctx, "from-go", containerd.WithImage(image),
		containerd.WithNewSnapshot("from-go-snapshot", image),
		containerd.WithNewSpec(oci.WithImageConfig(image), oci.WithProcessArgs("sleep", "1000")))
	if err != nil {
		return err
	}
	defer container.Delete(ctx, containerd.WithSnapshotCleanup)

	task, err := container.NewTask(ctx, cio.NewCreator(cio.WithStdio))
	if err != nil {
		return err
	}
	defer task.Delete(ctx, containerd.WithProcessKill)
	exited, err := task.Wait(ctx)
	if err != nil {
		return err
	}
	if err := task.Start(ctx); err != nil {
		return err
	}
	status, err := task.Status(ctx)
	if err != nil {
		return err
	}
	fmt.Println("status", status.Status)

	// sleep is init of its pid namespace and takes no SIGINT that it has no handler for: an exec proves the signal,
	// SIGKILL ends the task.
	spec, err := container.Spec(ctx)
	if err != nil {
		return err
	}
	process := *spec.Process
	process.Args = []string{"sh", "-c", "trap 'exit 7' INT; while :; do sleep 0.05; done"}
	exec, err := task.Exec(ctx, "trap", &process, cio.NewCreator(cio.WithStdio))
	if err != nil {
		return err
	}
	execExited, err := exec.Wait(ctx)
	if err != nil {
		return err
	}
	if err := exec.Start(ctx); err != nil {
		return err
	}
	time.Sleep(300 * time.Millisecond)
	if err := exec.Kill(ctx, syscall.SIGINT); err != nil {
		return err
	}
	execStatus := <-execExited
	fmt.Println("exec exit", execStatus.ExitCode())
	if _, err := exec.Delete(ctx); err != nil {
		return err
	}

	if err := task.Kill(ctx, syscall.SIGKILL); err != nil {
		return err
	}
	exit := <-exited
	code, _, err := exit.Result()
	if err != nil {
		return err
	}
	fmt.Println("exit", code)
	if _, err := task.Delete(ctx); err != nil {
		return err
	}
	if err := container.Delete(ctx, containerd.WithSnapshotCleanup); err != nil {
		return err
	}
	list, err := client.Containers(ctx)
	if err != nil {
		return err
	}
	fmt.Println("containers", len(list))
	return nil
}

func main() {
	if len(os.Args) != 4 {
		log.Fatal("usage: goclient ADDRESS NAMESPACE IMAGE")
	}
	if err := run(os.Args[1], os.Args[2], os.Args[3]); err != nil {
		log.Fatal(err)
	}
}
