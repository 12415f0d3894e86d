package cri

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// longestEntry is where a line without end is cut into partial entries, as container runtimes do.
const longestEntry = 16 << 10

// logFile writes a container's output in the form that the kubelet reads: time, stream, F (full) or P (partial), text.
type logFile struct {
	path string
	mu   sync.Mutex
	file *os.File
}

func openLog(path string) (*logFile, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	log := &logFile{path: path}
	return log, log.reopen()
}

func (l *logFile) reopen() error {
	file, err := os.OpenFile(l.path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o640)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file != nil {
		l.file.Close()
	}
	l.file = file
	return nil
}

// Close closes the file. Streams must be flushed before.
func (l *logFile) Close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.file.Close()
}

func (l *logFile) entry(stream string, full bool, text []byte) {
	tag := " P "
	if full {
		tag = " F "
	}
	line := time.Now().UTC().AppendFormat(make([]byte, 0, len(text)+64), time.RFC3339Nano)
	line = append(line, " "+stream+tag...)
	line = append(append(line, text...), '\n')
	l.mu.Lock()
	defer l.mu.Unlock()
	// A full disk must not stop the container; the entry is lost.
	_, _ = l.file.Write(line)
}

// logStream cuts one stream into entries.
type logStream struct {
	log     *logFile
	name    string
	pending []byte
}

func (l *logFile) stream(name string) *logStream { return &logStream{log: l, name: name} }

// Write takes output and never fails.
func (s *logStream) Write(text []byte) (int, error) {
	s.pending = append(s.pending, text...)
	for {
		end := bytes.IndexByte(s.pending, '\n')
		switch {
		case end >= 0 && end <= longestEntry:
			s.log.entry(s.name, true, s.pending[:end])
			s.pending = s.pending[end+1:]
		case len(s.pending) > longestEntry:
			s.log.entry(s.name, false, s.pending[:longestEntry])
			s.pending = s.pending[longestEntry:]
		default:
			return len(text), nil
		}
	}
}

// flush writes the end of a stream that does not end its last line.
func (s *logStream) flush() {
	if len(s.pending) > 0 {
		s.log.entry(s.name, false, s.pending)
		s.pending = nil
	}
}

// broadcast passes a container's output on to all who are attached.
type broadcast struct {
	mu        sync.Mutex
	listeners map[*listener]bool
	closed    bool
}

type listener struct {
	out, err io.Writer
	gone     chan struct{}
}

func newBroadcast() *broadcast { return &broadcast{listeners: map[*listener]bool{}} }

// attach adds a listener; the returned channel is closed when the output has ended or the listener failed.
func (b *broadcast) attach(out, err io.Writer) (<-chan struct{}, func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	added := &listener{out: out, err: err, gone: make(chan struct{})}
	if b.closed {
		close(added.gone)
		return added.gone, func() {}
	}
	b.listeners[added] = true
	return added.gone, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.drop(added)
	}
}

func (b *broadcast) drop(gone *listener) {
	if b.listeners[gone] {
		delete(b.listeners, gone)
		close(gone.gone)
	}
}

// Close tells all listeners that the output has ended.
func (b *broadcast) Close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	for listener := range b.listeners {
		b.drop(listener)
	}
}

func (b *broadcast) stream(name string) io.Writer { return &broadcastStream{b, name == "stderr"} }

type broadcastStream struct {
	to     *broadcast
	errors bool
}

// Write never fails: a listener that does is dropped.
func (s *broadcastStream) Write(text []byte) (int, error) {
	s.to.mu.Lock()
	defer s.to.mu.Unlock()
	for listener := range s.to.listeners {
		writer := listener.out
		if s.errors {
			writer = listener.err
		}
		if writer == nil {
			continue
		}
		if _, err := writer.Write(text); err != nil {
			s.to.drop(listener)
		}
	}
	return len(text), nil
}
