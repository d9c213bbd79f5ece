package main

import (
	"fmt"
	"strings"
)

func writeGo(out *file, all []record) {
	out.line("package causality\n")
	out.line("// The typed events: events whose names and properties the server and its reports")
	out.line("// know. Fields without a value are not sent; where zero is a value the field is a")
	out.line("// pointer, as in Revenue: new(12.5). Event makes what Track takes, of one user; set")
	out.line("// its other fields as needed.")
	types := map[kind]string{text: "string", integer: "int", long: "int64", number: "float64", boolean: "bool"}
	out.line("type (")
	for i, r := range all {
		if i > 0 {
			out.line("")
		}
		about := "is a part of other events."
		if r.event != "" {
			about = "is the event " + r.event + "."
		}
		out.line("\t// %s %s%s", r.typeName, about, goComment(r))
		out.line("\t%s struct {", r.typeName)
		for _, f := range r.fields {
			kind := types[f.kind]
			switch {
			case f.kind == object:
				kind = "[]" + f.part
			case f.list:
				kind = "[]" + kind
			case f.optional:
				kind = "*" + kind
			}
			comment := ""
			if f.comment != "" {
				comment = " // " + f.comment
			}
			out.line("\t\t%s %s%s", camel(f.property, true, true), kind, comment)
		}
		out.line("\t}")
	}
	out.line(")\n")
	for _, r := range all {
		if r.event != "" {
			out.line("// Event is the event %s of a user.", r.event)
			out.line("func (e %s) Event(userID string) Event {", r.typeName)
		} else {
			out.line("func (e %s) properties() Properties {", r.typeName)
		}
		out.line("\tp := make(Properties, %d)", len(r.fields))
		for _, f := range r.fields {
			put := "putText"
			switch {
			case f.kind == object:
				put = "putParts"
			case f.list:
				put = "putList"
			case f.optional:
				put = "putValue"
			}
			out.line("\t%s(p, %q, e.%s)", put, f.property, camel(f.property, true, true))
		}
		if r.event != "" {
			out.line("\treturn Event{Name: %q, UserID: userID, Properties: p}", r.event)
		} else {
			out.line("\treturn p")
		}
		out.line("}\n")
	}
	out.line(`func putText(p Properties, key, v string) {
	if v != "" {
		p[key] = v
	}
}

func putValue[T any](p Properties, key string, v *T) {
	if v != nil {
		p[key] = *v
	}
}

func putList[T any](p Properties, key string, list []T) {
	if len(list) > 0 {
		p[key] = list
	}
}

func putParts[T interface{ properties() Properties }](p Properties, key string, list []T) {
	if len(list) == 0 {
		return
	}
	parts := make([]any, len(list))
	for i, part := range list {
		parts[i] = map[string]any(part.properties())
	}
	p[key] = parts
}`)
}

func goComment(r record) string {
	if r.comment == "" {
		return ""
	}
	return " " + r.comment
}

func writeTypeScript(out *file, all []record) {
	types := map[kind]string{text: "string", integer: "number", long: "number", number: "number", boolean: "boolean"}
	fields := func(indent string, r record) {
		for _, f := range r.fields {
			if f.comment != "" {
				out.line("%s/** %s */", indent, f.comment)
			}
			kind := types[f.kind]
			if f.kind == object {
				kind = f.part
			}
			if f.list {
				kind += "[]"
			}
			out.line("%s%s?: %s;", indent, f.property, kind)
		}
	}
	for _, r := range all {
		if r.event == "" {
			out.line("/** A part of other events. */")
			out.line("export type %s = {", r.typeName)
			fields("  ", r)
			out.line("};\n")
		}
	}
	out.line("/**")
	out.line(" * The properties of the typed events: events whose names and properties the server")
	out.line(" * and its reports know. Only types, which weigh nothing in a page.")
	out.line(" */")
	out.line("export interface TypedEvents {")
	for _, r := range all {
		if r.event == "" {
			continue
		}
		if r.comment != "" {
			out.line("  /** %s */", r.comment)
		}
		out.line("  %s: {", r.event)
		fields("    ", r)
		out.line("  };")
	}
	out.line("}")
}

// member is the name of a field where every typed event has a name of its own.
func member(r record, f field, initialisms bool) string {
	if r.event != "" && f.property == "name" {
		for _, other := range r.fields {
			if other.property == "product_id" {
				return "productName"
			}
		}
		return "customName"
	}
	return camel(f.property, initialisms, false)
}

func writeKotlin(out *file, all []record) {
	out.line("package io.causality\n")
	types := map[kind]string{text: "String", integer: "Int", long: "Long", number: "Double", boolean: "Boolean"}
	for i, r := range all {
		if i > 0 {
			out.line("")
		}
		out.line("/** %s */", about(r, "`"))
		out.line("public data class %s(", r.typeName)
		for _, f := range r.fields {
			if f.comment != "" {
				out.line("    /** %s */", f.comment)
			}
			kind := types[f.kind]
			if f.kind == object {
				kind = f.part
			}
			if f.list {
				kind = "List<" + kind + ">"
			}
			out.line("    public val %s: %s? = null,", member(r, f, false), kind)
		}
		trim(out, ",\n", "\n")
		override := "internal fun"
		if r.event != "" {
			out.line(") : TypedEvent {")
			out.line("    override val name: String get() = \"%s\"\n", r.event)
			override = "override fun"
		} else {
			out.line(") {")
		}
		out.line("    %s fill(properties: Properties) {", override)
		for _, f := range r.fields {
			name, value := member(r, f, false), "it"
			if f.kind == object {
				value = "it.map { part -> Properties().also { inner -> part.fill(inner) } }"
			}
			out.line("        %s?.let { properties.put(\"%s\", %s) }", name, f.property, value)
		}
		out.line("    }")
		out.line("}")
	}
}

func writeSwift(out *file, all []record) {
	types := map[kind]string{text: "String", integer: "Int", long: "Int64", number: "Double", boolean: "Bool"}
	wrap := func(f field, value string) string {
		switch f.kind {
		case integer:
			return ".int(Int64(" + value + "))"
		case long:
			return ".int(" + value + ")"
		case number:
			return ".double(" + value + ")"
		case boolean:
			return ".bool(" + value + ")"
		case object:
			return ".object(" + value + ".properties)"
		}
		return ".string(" + value + ")"
	}
	for i, r := range all {
		if i > 0 {
			out.line("")
		}
		conforms := "Sendable, Equatable"
		if r.event != "" {
			conforms = "TypedEvent, Equatable"
		}
		out.line("/// %s", about(r, "`"))
		out.line("public struct %s: %s {", r.typeName, conforms)
		var parameters, assignments []string
		for _, f := range r.fields {
			if f.comment != "" {
				out.line("    /// %s", f.comment)
			}
			kind := types[f.kind]
			if f.kind == object {
				kind = f.part
			}
			if f.list {
				kind = "[" + kind + "]"
			}
			name := member(r, f, true)
			out.line("    public var %s: %s?", name, kind)
			parameters = append(parameters, fmt.Sprintf("        %s: %s? = nil", name, kind))
			assignments = append(assignments, fmt.Sprintf("        self.%s = %s", name, name))
		}
		out.line("\n    public init(\n%s\n    ) {\n%s\n    }\n", strings.Join(parameters, ",\n"), strings.Join(assignments, "\n"))
		access := ""
		if r.event != "" {
			out.line("    public var name: String { \"%s\" }\n", r.event)
			access = "public "
		}
		out.line("    %svar properties: Properties {", access)
		out.line("        var properties = Properties()")
		for _, f := range r.fields {
			name := member(r, f, true)
			value := wrap(f, name)
			if f.list {
				value = ".list(" + name + ".map { " + wrap(f, "$0") + " })"
			}
			out.line("        if let %s { properties[\"%s\"] = %s }", name, f.property, value)
		}
		out.line("        return properties")
		out.line("    }")
		out.line("}")
	}
}

// about describes a type, its event's name in quotes.
func about(r record, quote string) string {
	text := "A part of other events."
	if r.event != "" {
		text = "The event " + quote + r.event + quote + "."
	}
	if r.comment != "" {
		text += " " + r.comment
	}
	return text
}

// trim replaces the end of what is written.
func trim(out *file, end, with string) {
	text := strings.TrimSuffix(out.String(), end) + with
	out.Reset()
	out.WriteString(text)
}
