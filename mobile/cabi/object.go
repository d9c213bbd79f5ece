package main

// #include "causality_core.h"
import "C"

import (
	"sync"

	"github.com/causality-project/causality/mobile"
)

// object is properties that are being built. Calls on one object are one after
// another; the lock is for hosts that do otherwise.
type object struct {
	mu   sync.Mutex
	puts []func(*mobile.Properties) // of the object itself, to be made where it is used
	path []level                    // what is open inside, outermost first
}

// level is an object or, when list is set, a list.
type level struct {
	key        string // under which it goes into the level before
	properties *mobile.Properties
	list       *mobile.List
}

// mostOpen is deeper than any event may be nested: what is beyond it makes the
// event too deep anyway.
const mostOpen = 64

func (o *object) put(key C.cz_text, intoObject func(*mobile.Properties, string), intoList func(*mobile.List)) {
	if o == nil {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.innermost(kept(key), intoObject, intoList)
}

func (o *object) innermost(key string, intoObject func(*mobile.Properties, string), intoList func(*mobile.List)) {
	if len(o.path) == 0 {
		o.puts = append(o.puts, func(p *mobile.Properties) { intoObject(p, key) })
		return
	}
	if top := o.path[len(o.path)-1]; top.list != nil {
		intoList(top.list)
	} else {
		intoObject(top.properties, key)
	}
}

func (o *object) begin(inner level) {
	if o == nil {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.path) < mostOpen {
		o.path = append(o.path, inner)
	}
}

func (o *object) end() {
	if o == nil {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.path) > 0 {
		o.closeLast()
	}
}

func (o *object) closeLast() {
	inner := o.path[len(o.path)-1]
	o.path = o.path[:len(o.path)-1]
	if inner.list != nil {
		o.innermost(inner.key, func(p *mobile.Properties, key string) { p.PutList(key, inner.list) }, func(l *mobile.List) { l.AddList(inner.list) })
	} else {
		o.innermost(inner.key, func(p *mobile.Properties, key string) { p.PutObject(key, inner.properties) }, func(l *mobile.List) { l.AddObject(inner.properties) })
	}
}

// into puts all of the object into p, with what was left open closed.
func (o *object) into(p *mobile.Properties) {
	if o == nil {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	for len(o.path) > 0 {
		o.closeLast()
	}
	for _, put := range o.puts {
		put(p)
	}
}

// finished is the object as properties; nil for none.
func (o *object) finished() *mobile.Properties {
	if o == nil {
		return nil
	}
	p := mobile.NewProperties()
	o.into(p)
	return p
}

//export cz_object
func cz_object() C.cz_handle {
	return objects.add(&object{})
}

//export cz_release
func cz_release(n C.cz_handle) { objects.take(n) }

//export cz_put_text
func cz_put_text(n C.cz_handle, key, value C.cz_text) {
	v := kept(value)
	objects.get(n).put(key, func(p *mobile.Properties, key string) { p.PutString(key, v) }, func(l *mobile.List) { l.AddString(v) })
}

//export cz_put_int
func cz_put_int(n C.cz_handle, key C.cz_text, value C.int64_t) {
	v := int64(value)
	objects.get(n).put(key, func(p *mobile.Properties, key string) { p.PutLong(key, v) }, func(l *mobile.List) { l.AddLong(v) })
}

//export cz_put_double
func cz_put_double(n C.cz_handle, key C.cz_text, value C.double) {
	v := float64(value)
	objects.get(n).put(key, func(p *mobile.Properties, key string) { p.PutDouble(key, v) }, func(l *mobile.List) { l.AddDouble(v) })
}

//export cz_put_bool
func cz_put_bool(n C.cz_handle, key C.cz_text, value C.int32_t) {
	v := value != 0
	objects.get(n).put(key, func(p *mobile.Properties, key string) { p.PutBool(key, v) }, func(l *mobile.List) { l.AddBool(v) })
}

//export cz_put_null
func cz_put_null(n C.cz_handle, key C.cz_text) {
	objects.get(n).put(key, func(p *mobile.Properties, key string) { p.PutNull(key) }, func(l *mobile.List) { l.AddNull() })
}

//export cz_begin_object
func cz_begin_object(n C.cz_handle, key C.cz_text) {
	objects.get(n).begin(level{key: kept(key), properties: mobile.NewProperties()})
}

//export cz_begin_list
func cz_begin_list(n C.cz_handle, key C.cz_text) {
	objects.get(n).begin(level{key: kept(key), list: mobile.NewList()})
}

//export cz_end
func cz_end(n C.cz_handle) { objects.get(n).end() }
