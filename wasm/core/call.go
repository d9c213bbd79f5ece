//go:build wasip1

package main

import (
	"math"
	"unsafe"

	"github.com/causality-project/causality/sdk/core"
)

// The calls, whose numbers wasm-core.ts shares. Each takes its arguments from the
// tape that the host has written to the memory that reserve gave, and leaves its
// answer on a tape. Where the core has a method of that name, it is that.
const (
	callOpen      = iota // the arguments of openCore
	callAdd              // the text of an event, to the end → wake
	callPoll             // → what putCommand writes
	callDeadline         // → an instant, infinite for never
	callCommitted        // ok
	callAnswered         // attempt, status, retry after, body → whether it was the current one
	callFlush            // → whether an attempt will be made
	callClose
	callOptOut
	callOptIn
	callLead // state, blocks
	callFollow
	callStored   // blocks
	callLost     // numbers of blocks
	callStats    // → what putStats writes
	callEncode   // id ("" for none), the text of an event, to the end → its bytes, whether the id was taken
	callAnswer   // body → readable, accepted, duplicates, rejections
	callVisitor  // idle, background, longest, state
	callFill     // the text of an event, to the end → anonymous id, user id, session id, number of groups, pairs
	callIdentify // user id
	callJoin     // group type, group id
	callReset
	callBackground
	callForeground
	callVisitorIDs   // → anonymous id, user id, session id, whether the state has changed
	callVisitorState // → state
)

// How a call ended: the first byte of its answer.
const (
	done    = iota // the tape follows
	refused        // reason, message, field follow: the event is not kept
	failed         // a sentence follows: the core is not to be used again
)

var (
	input   []byte
	answer  tape
	client  *core.Core
	visitor *core.Visitor
	broken  string // what made an earlier call fail
)

// maxInput bounds what the host may hand over at once: the description of a full
// queue in which every event is a block.
const maxInput = 16 << 20

//go:wasmimport causality random
func random() int64

//go:wasmimport causality number
func hostNumber(text unsafe.Pointer, size int32) float64

// parseNumber has the host read a number, which spares every browser the tables
// that strconv does it with.
func parseNumber(text string) float64 {
	return hostNumber(unsafe.Pointer(unsafe.StringData(text)), int32(len(text)))
}

// reserve gives memory for the arguments of the next call, or nil for too much.
//
//go:wasmexport reserve
func reserve(size int32) unsafe.Pointer {
	if size < 0 || size > maxInput {
		return nil
	}
	if input == nil || cap(input) < int(size) || cap(input) > 1<<20 && size < 1<<16 {
		input = make([]byte, size, max(size, 1<<12))
	}
	input = input[:size]
	return unsafe.Pointer(unsafe.SliceData(input))
}

// call never lets a panic through, which would end the instance without a word.
// After one the state is anything: the host starts over from its queue.
//
//go:wasmexport call
func call(name int32, now float64) (at unsafe.Pointer) {
	if cap(answer) > 1<<20 {
		answer = nil
	}
	answer = append(answer[:0], done)
	defer func() {
		if r := recover(); r != nil {
			broken = "a panic"
			switch r := r.(type) {
			case error:
				broken = r.Error()
			case string:
				broken = r
			}
			fail()
		}
		at = unsafe.Pointer(unsafe.SliceData(answer))
	}()
	switch in := tape(input); {
	case broken != "":
		fail()
	case name == callOpen:
		openCore(&in)
	case name >= callEncode:
		callWithoutCore(name, core.Micros(now), &in)
	case client == nil:
		panic("a call before open")
	default:
		callCore(name, core.Micros(now), &in)
	}
	return nil
}

func fail() {
	answer = append(answer[:0], failed)
	answer.putText(broken)
}

func refuse(err error) {
	reason, field := core.QueueFull, ""
	if err == core.ErrClosed {
		reason = "closed"
	}
	if invalid, ok := err.(*core.InvalidError); ok {
		reason, field = invalid.Reason, invalid.Field
	}
	answer = append(answer[:0], refused)
	answer.putText(string(reason))
	answer.putText(err.Error()[len("causality: "):])
	answer.putText(field)
}

func openCore(in *tape) {
	cfg := core.Config{
		FlushAt:     in.int(),
		FlushEvery:  micros(in),
		MaxAge:      micros(in),
		QueueBytes:  in.int(),
		QueueEvents: in.int(),
		BufferBytes: in.int(),
		Shared:      in.int() != 0,
		Library:     core.Library{Name: string(in.bytes()), Version: string(in.bytes())},
		Random:      randomBits,
	}
	state := in.bytes()
	c, err := core.New(cfg, state, blocks(in))
	if err != nil {
		panic(err)
	}
	client = c
}

func randomBits() uint64 { return uint64(random()) }

func micros(in *tape) core.Micros { return core.Micros(in.number()) }

func blocks(in *tape) []core.BlockInfo {
	var out []core.BlockInfo
	for len(*in) > 0 {
		out = append(out, core.BlockInfo{Seq: uint64(in.int()), At: micros(in), Events: in.int(), Bytes: in.int()})
	}
	return out
}

func callCore(name int32, now core.Micros, in *tape) {
	switch name {
	case callAdd:
		add(now, in)
	case callPoll:
		putCommand(now)
	case callDeadline:
		at := float64(client.Deadline(now))
		if at == float64(core.Never) {
			at = math.Inf(1)
		}
		answer.putNumber(at)
	case callCommitted:
		client.Committed(now, in.int() != 0)
	case callAnswered:
		answer.putBool(client.Answered(now, uint64(in.int()), core.Response{
			Status: in.int(), RetryAfter: micros(in), Body: in.bytes(),
		}))
	case callFlush:
		_, attempt := client.Flush(now)
		answer.putBool(attempt)
	case callClose:
		client.Close()
	case callOptOut:
		client.OptOut()
	case callOptIn:
		client.OptIn()
	case callLead:
		state := in.bytes()
		client.Lead(now, state, blocks(in))
	case callFollow:
		client.Follow()
	case callStored:
		client.Stored(now, blocks(in)...)
	case callLost:
		var seqs []uint64
		for len(*in) > 0 {
			seqs = append(seqs, uint64(in.int()))
		}
		client.Lost(now, seqs...)
	case callStats:
		putStats(client.Stats())
	}
}

func add(now core.Micros, in *tape) {
	e, invalid := readEvent(string(*in))
	if invalid != nil {
		client.Refuse(now, invalid)
		refuse(invalid)
		return
	}
	wake, err := client.Track(now, &e)
	if err != nil {
		refuse(err)
		return
	}
	answer.putBool(wake)
}

// putCommand writes 0 for nothing, or one of 1 to 5 and its fields.
func putCommand(now core.Micros) {
	command, more := client.Poll(now)
	switch {
	case !more:
		answer.putInt(0)
	case command.Commit != nil:
		change := command.Commit
		answer.putInt(1)
		putBlocks(change.Append)
		answer.putInt(len(change.Delete))
		for _, r := range change.Delete {
			answer.putInt(int(r.First))
			answer.putInt(int(r.Last))
		}
		answer.putBool(change.State != nil)
		answer.putBytes(change.State)
	case command.Send != nil:
		r := command.Send
		answer.putInt(2)
		answer.putInt(int(r.Attempt))
		answer.putInt(int(r.First))
		answer.putInt(int(r.Last))
		answer.putInt(r.Skip)
		answer.putInt(r.Events)
		putBlocks(r.Unsaved)
		answer.putBytes(r.Trailer)
	case command.Cancel != 0:
		answer.putInt(3)
		answer.putInt(int(command.Cancel))
	case command.Rejected != nil:
		answer.putInt(5)
		putRejections(command.Rejected)
	default:
		answer.putInt(4)
		answer.putText(string(command.Dropped.Reason))
		answer.putInt(command.Dropped.Events)
	}
}

func putBlocks(blocks []core.Block) {
	answer.putInt(len(blocks))
	for _, b := range blocks {
		answer.putInt(int(b.Seq))
		answer.putInt(int(b.At))
		answer.putInt(b.Events)
		answer.putBytes(b.Data)
	}
}

func putRejections(list []core.Rejection) {
	answer.putInt(len(list))
	for _, r := range list {
		answer.putInt(r.Index)
		answer.putText(r.ID)
		answer.putText(string(r.Code))
		answer.putText(r.Field)
		answer.putText(r.Message)
	}
}

func putStats(s core.Stats) {
	answer.putInt(s.Queued)
	answer.putInt(s.QueuedBytes)
	answer.putInt(int(s.Sent))
	answer.putInt(s.Failures)
	answer.putInt(int(s.NextAttempt))
	answer.putBool(s.Paused)
	answer.putBool(s.OptedOut)
	answer.putInt(len(s.Dropped))
	for reason, n := range s.Dropped {
		answer.putText(string(reason))
		answer.putInt(int(n))
	}
}

// callWithoutCore is what the golden vectors check beside the core, and what a
// page that keeps its visitor elsewhere never calls.
func callWithoutCore(name int32, now core.Micros, in *tape) {
	switch name {
	case callEncode:
		id := string(in.bytes())
		e, invalid := readEvent(string(*in))
		if invalid != nil {
			refuse(invalid)
			return
		}
		encoded, err := core.Encode(nil, now, &e, nil)
		if err != nil {
			refuse(err)
			return
		}
		taken := encoded.SetID(id)
		answer.putBytes(encoded.Bytes())
		answer.putBool(taken)
		return
	case callAnswer:
		a, ok := core.DecodeAnswer(in.bytes())
		answer.putBool(ok)
		answer.putInt(a.Accepted)
		answer.putInt(a.Duplicates)
		putRejections(a.Rejected)
		return
	case callVisitor:
		visitor = core.NewVisitor(core.VisitorConfig{
			Idle: micros(in), Background: micros(in), Longest: micros(in), Random: randomBits,
		}, in.bytes())
		return
	}
	if visitor == nil {
		panic("a call before visitor")
	}
	switch name {
	case callFill:
		e, invalid := readEvent(string(*in))
		if invalid != nil {
			refuse(invalid)
			return
		}
		visitor.Fill(now, &e)
		answer.putText(e.AnonymousID)
		answer.putText(e.UserID)
		answer.putText(e.SessionID)
		answer.putInt(len(e.Groups))
		for kind, id := range e.Groups {
			answer.putText(kind)
			answer.putText(id)
		}
	case callIdentify:
		visitor.Identify(now, string(in.bytes()))
	case callJoin:
		kind := string(in.bytes())
		visitor.Join(kind, string(in.bytes()))
	case callReset:
		visitor.Reset(now)
	case callBackground:
		visitor.Background(now)
	case callForeground:
		visitor.Foreground(now)
	case callVisitorIDs:
		answer.putText(visitor.AnonymousID())
		answer.putText(visitor.UserID())
		answer.putText(visitor.SessionID())
		answer.putBool(visitor.Changed())
	case callVisitorState:
		answer.putBytes(visitor.State())
	}
}
