package causalityconnect_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"testing"

	"connectrpc.com/connect"
	causality "github.com/causality-project/causality/sdk"
	causalityconnect "github.com/causality-project/causality/sdk/connect"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

type (
	request  = connect.Request[wrapperspb.StringValue]
	response = connect.Response[wrapperspb.StringValue]
)

func answer(text string) *response { return connect.NewResponse(wrapperspb.String(text)) }

// serve answers each kind of call with the correlation id that its handler sees.
func serve(t *testing.T) *httptest.Server {
	t.Helper()
	intercepted := connect.WithInterceptors(causalityconnect.NewInterceptor())
	mux := http.NewServeMux()
	mux.Handle("/unary", connect.NewUnaryHandler("/unary", func(ctx context.Context, _ *request) (*response, error) {
		return answer(causality.CorrelationID(ctx)), nil
	}, intercepted))
	shared := connect.NewError(connect.CodeNotFound, errors.New("there is none"))
	mux.Handle("/fails", connect.NewUnaryHandler("/fails", func(context.Context, *request) (*response, error) {
		return nil, shared
	}, intercepted))
	mux.Handle("/fails-plainly", connect.NewUnaryHandler("/fails-plainly", func(context.Context, *request) (*response, error) {
		return nil, errors.New("there is none")
	}, intercepted))
	mux.Handle("/server", connect.NewServerStreamHandler("/server", func(ctx context.Context, _ *request, s *connect.ServerStream[wrapperspb.StringValue]) error {
		return s.Send(wrapperspb.String(causality.CorrelationID(ctx)))
	}, intercepted))
	mux.Handle("/client", connect.NewClientStreamHandler("/client", func(ctx context.Context, s *connect.ClientStream[wrapperspb.StringValue]) (*response, error) {
		for s.Receive() {
		}
		return answer(causality.CorrelationID(ctx)), s.Err()
	}, intercepted))
	mux.Handle("/bidi", connect.NewBidiStreamHandler("/bidi", func(ctx context.Context, s *connect.BidiStream[wrapperspb.StringValue, wrapperspb.StringValue]) error {
		return s.Send(wrapperspb.String(causality.CorrelationID(ctx)))
	}, intercepted))
	server := httptest.NewUnstartedServer(mux)
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(server.Close)
	return server
}

func TestEveryKindOfCallCarriesTheCorrelationID(t *testing.T) {
	t.Parallel()
	server := serve(t)
	type outcome struct {
		seen   string // by the handler
		header http.Header
	}
	type client = connect.Client[wrapperspb.StringValue, wrapperspb.StringValue]
	calls := map[string]func(context.Context, *client) (outcome, error){
		"/unary": func(ctx context.Context, c *client) (outcome, error) {
			res, err := c.CallUnary(ctx, connect.NewRequest(wrapperspb.String("")))
			if err != nil {
				return outcome{}, err
			}
			return outcome{res.Msg.Value, res.Header()}, nil
		},
		"/server": func(ctx context.Context, c *client) (outcome, error) {
			stream, err := c.CallServerStream(ctx, connect.NewRequest(wrapperspb.String("")))
			if err != nil {
				return outcome{}, err
			}
			defer stream.Close()
			stream.Receive()
			return outcome{stream.Msg().GetValue(), stream.ResponseHeader()}, stream.Err()
		},
		"/client": func(ctx context.Context, c *client) (outcome, error) {
			stream := c.CallClientStream(ctx)
			if err := stream.Send(wrapperspb.String("")); err != nil {
				return outcome{}, err
			}
			res, err := stream.CloseAndReceive()
			if err != nil {
				return outcome{}, err
			}
			return outcome{res.Msg.Value, res.Header()}, nil
		},
		"/bidi": func(ctx context.Context, c *client) (outcome, error) {
			stream := c.CallBidiStream(ctx)
			if err := stream.CloseRequest(); err != nil {
				return outcome{}, err
			}
			msg, err := stream.Receive()
			if err != nil {
				return outcome{}, err
			}
			if _, err := stream.Receive(); !errors.Is(err, io.EOF) {
				return outcome{}, fmt.Errorf("after the answer: %w", err)
			}
			return outcome{msg.Value, stream.ResponseHeader()}, stream.CloseResponse()
		},
	}
	for path, call := range calls {
		for protocol, option := range map[string]connect.ClientOption{"connect": connect.WithProtoJSON(), "grpc": connect.WithGRPC(), "grpc-web": connect.WithGRPCWeb()} {
			t.Run(path[1:]+" "+protocol, func(t *testing.T) {
				t.Parallel()
				c := connect.NewClient[wrapperspb.StringValue, wrapperspb.StringValue](server.Client(), server.URL+path,
					connect.WithInterceptors(causalityconnect.NewInterceptor()), option)
				got, err := call(causality.WithCorrelationID(t.Context(), "job-7"), c)
				if err != nil || got.seen != "job-7" || got.header.Get(causality.CorrelationHeader) != "job-7" {
					t.Errorf("handler saw %q, answer names %q (%v), want job-7", got.seen, got.header.Get(causality.CorrelationHeader), err)
				}
				got, err = call(t.Context(), c)
				if err != nil || len(got.seen) != 36 || got.header.Get(causality.CorrelationHeader) != got.seen {
					t.Errorf("handler saw %q, answer names %q (%v), want one new id", got.seen, got.header.Get(causality.CorrelationHeader), err)
				}
			})
		}
	}
}

// TestARefusalNamesTheCorrelationIDToo calls at once, since handlers may share an
// error.
func TestARefusalNamesTheCorrelationIDToo(t *testing.T) {
	t.Parallel()
	server := serve(t)
	for _, path := range []string{"/fails", "/fails-plainly"} {
		for n := range 10 {
			id := fmt.Sprintf("job-%d", n)
			t.Run(path[1:]+" "+id, func(t *testing.T) {
				t.Parallel()
				c := connect.NewClient[wrapperspb.StringValue, wrapperspb.StringValue](server.Client(), server.URL+path,
					connect.WithInterceptors(causalityconnect.NewInterceptor()))
				_, err := c.CallUnary(causality.WithCorrelationID(t.Context(), id), connect.NewRequest(wrapperspb.String("")))
				refusal := new(connect.Error)
				if !errors.As(err, &refusal) || refusal.Meta().Get(causality.CorrelationHeader) != id {
					t.Errorf("the refusal is %v with %v, want %s in it", err, refusal.Meta(), id)
				}
			})
		}
	}
}

func TestAHeaderThatIsSetStays(t *testing.T) {
	t.Parallel()
	server := serve(t)
	c := connect.NewClient[wrapperspb.StringValue, wrapperspb.StringValue](server.Client(), server.URL+"/unary",
		connect.WithInterceptors(causalityconnect.NewInterceptor()))
	req := connect.NewRequest(wrapperspb.String(""))
	req.Header().Set(causality.CorrelationHeader, "mine")
	res, err := c.CallUnary(causality.WithCorrelationID(t.Context(), "job-7"), req)
	if err != nil || res.Msg.Value != "mine" {
		t.Errorf("handler saw %v (%v), want mine", res, err)
	}
}

// The events of a handler and of the services that it calls share a correlation id.
func Example() {
	intercepted := connect.WithInterceptors(causalityconnect.NewInterceptor())
	mux := http.NewServeMux()
	mux.Handle("/shop.v1.Cart/Price", connect.NewUnaryHandler("/shop.v1.Cart/Price", func(ctx context.Context, _ *request) (*response, error) {
		// Track with ctx gives events the id.
		return answer("priced in " + causality.CorrelationID(ctx)), nil
	}, intercepted))
	server := httptest.NewServer(mux)
	defer server.Close()

	client := connect.NewClient[wrapperspb.StringValue, wrapperspb.StringValue](http.DefaultClient, server.URL+"/shop.v1.Cart/Price", intercepted)
	ctx := causality.WithCorrelationID(context.Background(), "request-4711")
	res, err := client.CallUnary(ctx, connect.NewRequest(wrapperspb.String("")))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(res.Msg.Value)
	// Output: priced in request-4711
}
