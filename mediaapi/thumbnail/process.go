package thumbnail

/*
#cgo CFLAGS: -O3
#cgo linux LDFLAGS: -ldl -lm -lpthread
#include "picture.h"
*/
import "C"

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strconv"
	"sync"
	"syscall"
	"time"
	"unsafe"
)

const (
	// patience is how long the process waits for another picture before it ends.
	patience = 20 * time.Second
	// startTimeout bounds the time until the process says that it is there.
	startTimeout = 30 * time.Second
	// startPause is how long a start that has failed is not tried again: clients ask for hundreds of thumbnails.
	startPause = time.Minute
	// maxAnswer bounds what is taken back from the process: nothing it makes is larger than the pixels of the largest thumbnail.
	maxAnswer = maxSide * maxSide * 4
)

// What the process makes.
const (
	kindJPEG   = C.HEARTH_JPEG
	kindPNG    = C.HEARTH_PNG
	kindWebP   = C.HEARTH_WEBP
	kindPixels = C.HEARTH_PIXELS
)

// What may become of a job.
const (
	outcomeMade        = C.HEARTH_MADE
	outcomeFailed      = C.HEARTH_FAILED
	outcomeUnavailable = C.HEARTH_UNAVAILABLE
)

// contentTypes are those of files.
var contentTypes = [...]string{kindJPEG: "image/jpeg", kindPNG: "image/png", kindWebP: "image/webp"}

// job and answer are what goes over the socket. picture.h has the same structs, and says what the fields mean.
type job struct {
	size                           uint64
	pixelsWidth, pixelsHeight      uint32
	frames, loop                   uint32
	pages                          int32
	jpegEighths                    uint32
	width, height                  uint32
	left, top, outWidth, outHeight uint32
	orientation                    uint32
	opaque, transparent            uint32
	quality, compression, effort   uint32
}

type answer struct {
	size    uint64
	outcome uint32
	kind    uint32
}

// Of one size here and there, or this does not compile.
var (
	_ [unsafe.Sizeof(job{})]byte    = [C.sizeof_struct_hearth_job]byte{}
	_ [unsafe.Sizeof(answer{})]byte = [C.sizeof_struct_hearth_answer]byte{}
)

// errGone says that the process ended before it answered.
var errGone = errors.New("the process for pictures ended")

// process is the program started once more, as what process.c makes of it. Decoders run there and not here, so that a file which crashes
// one does no harm, and so that what they take is given back. The zero value starts it when the first job comes.
type process struct {
	// program is what is started; empty stands for this one.
	program string
	// patience is how long it waits for another job; zero stands for the constant.
	patience time.Duration

	mu      sync.Mutex
	control *net.UnixConn // nil when there is no process
	cmd     *exec.Cmd
	ended   chan struct{} // closed when cmd is no more
	failure error         // of the last start, at failed
	failed  time.Time
}

// do has a job done. The bytes that belong to it come from src, whose own errors are handed back as they are. When ctx ends, the process does
// too: there is no other way to stop a decoder. A job whose process has ended is done once more by the next one, since the reason may have
// been another's picture, or that the process had just lost its patience.
func (p *process) do(ctx context.Context, j job, src io.ReaderAt) (kind uint32, out []byte, err error) {
	for range 2 {
		if err := ctx.Err(); err != nil {
			return 0, nil, err
		}
		conn, stop, err := p.connect()
		if err != nil {
			return 0, nil, err
		}
		cancel := context.AfterFunc(ctx, stop)
		kind, out, err := exchange(conn, j, src)
		conn.Close()
		if !cancel() {
			return 0, nil, ctx.Err()
		}
		if !errors.Is(err, errGone) {
			return kind, out, err
		}
	}
	return 0, nil, broken("%s, twice", errGone)
}

// exchange sends a job and takes the answer. A file is handed over as it is, anything else is sent.
func exchange(conn *net.UnixConn, j job, src io.ReaderAt) (kind uint32, out []byte, err error) {
	header := unsafe.Slice((*byte)(unsafe.Pointer(&j)), unsafe.Sizeof(j))
	if f, ok := src.(*os.File); ok {
		if _, _, err := conn.WriteMsgUnix(header, syscall.UnixRights(int(f.Fd())), nil); err != nil {
			return 0, nil, errGone
		}
	} else if err := send(conn, header, io.NewSectionReader(src, 0, int64(j.size))); err != nil {
		return 0, nil, err
	}
	a, out, err := readAnswer(conn)
	switch {
	case err != nil:
		return 0, nil, err
	case a.outcome == outcomeUnavailable:
		return 0, nil, fmt.Errorf("%w: %s", ErrUnavailable, out)
	case a.outcome == outcomeFailed:
		return 0, nil, broken("%s", bytes.TrimSpace(out))
	}
	return a.kind, out, nil
}

// send sends the job and the bytes that belong to it.
func send(conn io.Writer, header []byte, data *io.SectionReader) error {
	if _, err := conn.Write(header); err != nil {
		return errGone
	}
	file := &source{Reader: data}
	if n, err := io.Copy(conn, file); n < data.Size() {
		if file.err != nil || err == nil {
			return fmt.Errorf("read image: %w", noEOF(file.err))
		}
		return errGone
	}
	return nil
}

// source remembers whether it was the reader that failed, and not the writer it is copied to.
type source struct {
	io.Reader
	err error
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.Reader.Read(p)
	if err != nil && err != io.EOF {
		s.err = err
	}
	return n, err
}

func readAnswer(conn io.Reader) (answer, []byte, error) {
	var a answer
	if _, err := io.ReadFull(conn, unsafe.Slice((*byte)(unsafe.Pointer(&a)), unsafe.Sizeof(a))); err != nil {
		return a, nil, errGone
	}
	if a.size > maxAnswer {
		return a, nil, broken("an answer of %d bytes", a.size)
	}
	out := make([]byte, a.size)
	if _, err := io.ReadFull(conn, out); err != nil {
		return a, nil, errGone
	}
	return a, out, nil
}

// connect hands the process one end of a new socket, and returns the other. stop ends the process.
func (p *process) connect() (conn *net.UnixConn, stop func(), err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for range 2 {
		if p.control == nil {
			if p.failure == nil || time.Since(p.failed) > startPause {
				p.failure, p.failed = p.start(), time.Now()
			}
			if p.failure != nil {
				return nil, nil, p.failure
			}
		}
		here, there, err := socketPair()
		if err != nil {
			return nil, nil, err
		}
		_, _, err = p.control.WriteMsgUnix([]byte{0}, syscall.UnixRights(int(there.Fd())), nil)
		there.Close()
		if err == nil {
			cmd := p.cmd
			return here, func() { _ = cmd.Process.Kill() }, nil
		}
		here.Close()
		p.end()
	}
	return nil, nil, errGone
}

// start starts the process and waits until it is there. The caller holds the lock.
func (p *process) start() error {
	here, there, err := socketPair()
	if err != nil {
		return err
	}
	defer there.Close()
	program := p.program
	if program == "" {
		if program, err = self(); err != nil {
			return fmt.Errorf("%w: find the program: %w", ErrUnavailable, err)
		}
	}
	wait := p.patience
	if wait == 0 {
		wait = patience
	}
	cmd := &exec.Cmd{
		Path: program, Args: []string{"hearth-pictures"}, ExtraFiles: []*os.File{there}, Dir: "/",
		Env: []string{"HEARTH_PICTURE_PROCESS=" + strconv.Itoa(int(wait/time.Second))},
	}
	// Nothing else of the server's environment, which may hold secrets.
	for _, name := range []string{"LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"} {
		if path, ok := os.LookupEnv(name); ok {
			cmd.Env = append(cmd.Env, name+"="+path)
		}
	}
	if err := cmd.Start(); err != nil {
		here.Close()
		return fmt.Errorf("%w: start the process: %w", ErrUnavailable, err)
	}
	there.Close()
	p.control, p.cmd, p.ended = here, cmd, make(chan struct{})
	go func(ended chan struct{}) {
		_ = cmd.Wait() // how it ended is of no interest: its jobs say that it did
		close(ended)
	}(p.ended)

	// Pictures take memory for as long as somebody looks at them: what the server does not need of its own is given back meanwhile.
	debug.FreeOSMemory()
	_ = here.SetReadDeadline(time.Now().Add(startTimeout))
	if _, _, err := readAnswer(here); err != nil {
		p.end()
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return nil
}

// end ends the process and waits for it. The caller holds the lock.
func (p *process) end() {
	if p.control == nil {
		return
	}
	p.control.Close()
	select {
	case <-p.ended:
	case <-time.After(time.Second):
		_ = p.cmd.Process.Kill()
		<-p.ended
	}
	p.control = nil
}

// close ends the process, if there is one, and waits for it.
func (p *process) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.end()
}

// self is the running program, also when its file has been replaced by a newer version since.
func self() (string, error) {
	if runtime.GOOS == "linux" {
		return "/proc/self/exe", nil
	}
	return os.Executable()
}

// socketPair returns both ends of a socket.
func socketPair() (here *net.UnixConn, there *os.File, err error) {
	syscall.ForkLock.RLock()
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err == nil {
		syscall.CloseOnExec(fds[0])
		syscall.CloseOnExec(fds[1])
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return nil, nil, fmt.Errorf("make a socket for pictures: %w", err)
	}
	there = os.NewFile(uintptr(fds[1]), "pictures")
	file := os.NewFile(uintptr(fds[0]), "pictures")
	defer file.Close()
	conn, err := net.FileConn(file)
	if err != nil {
		there.Close()
		return nil, nil, fmt.Errorf("make a socket for pictures: %w", err)
	}
	return conn.(*net.UnixConn), there, nil
}
