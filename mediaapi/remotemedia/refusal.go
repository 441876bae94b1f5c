package remotemedia

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/hearthd/hearth/internal/merr"
)

// maxRefusal is how much of an error is read, in bytes.
const maxRefusal = 16 << 10

// errUnknownEndpoint says that the other server does not know the endpoint that it was asked.
var errUnknownEndpoint = errors.New("the server does not know the endpoint")

func isUnknownEndpoint(err error) bool { return errors.Is(err, errUnknownEndpoint) }

// check reads an answer other than success and closes it. The error is one of merr where that is what the other server means: what strangers
// write is not passed on.
func check(resp *http.Response) error {
	if resp.StatusCode == http.StatusOK {
		return nil
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxRefusal))
	if err != nil {
		return fmt.Errorf("read an error: %w", err)
	}
	return refusal(resp.StatusCode, body)
}

// refusal finds out what an error means.
//
// Spec: server-server-api#content-repository, server-server-api#unsupported-endpoints
func refusal(status int, body []byte) error {
	var said struct {
		Code merr.Code `json:"errcode"`
	}
	// A body that is no error of Matrix comes from something that is no Matrix server, or not at this address.
	if err := json.Unmarshal(body, &said); err != nil {
		said.Code = ""
	}
	switch {
	case status == http.StatusMethodNotAllowed,
		status == http.StatusNotFound && (said.Code == merr.Unrecognized || said.Code == ""),
		status == http.StatusBadRequest && said.Code == "":
		return errUnknownEndpoint
	case status == http.StatusNotFound:
		return notFound()
	case said.Code == merr.NotYetUploaded:
		return merr.New(merr.NotYetUploaded, "The media has not yet been uploaded")
	case said.Code == merr.TooLarge:
		return merr.New(merr.TooLarge, "The content is too large to serve").WithStatus(http.StatusBadGateway)
	}
	return fmt.Errorf("status %d with the code %.100q", status, said.Code)
}
