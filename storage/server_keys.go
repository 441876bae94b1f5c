package storage

import (
	"encoding/json"

	"github.com/hearthd/hearth/internal/id"
)

// ServerKey is a key that a server signs with, or did once. Times are ms since the epoch.
type ServerKey struct {
	Server id.ServerName
	KeyID  string // such as ed25519:1
	Public string // unpadded base64
	// ValidUntil is how long it may be used, 0 for a key that has been retired; Expired is when it was, 0 for one that is in use.
	ValidUntil, Expired int64
	// Fetched is when the server was last heard saying so.
	Fetched int64
	// Document is the number of the answer in which it did.
	Document int64
}

// maxServerKeys is how many keys of one server are kept: those that were seen last.
const maxServerKeys = 64

// ServerKeys returns the keys of a server.
func (tx *ReadTx) ServerKeys(server id.ServerName) ([]ServerKey, error) {
	return collect(tx, func(r rowScanner) (ServerKey, error) {
		k := ServerKey{Server: server}
		err := r.Scan(&k.KeyID, &k.Public, &k.ValidUntil, &k.Expired, &k.Fetched, &k.Document)
		return k, err
	}, `select key_id, public_key, valid_until, expired, fetched, document from server_keys where server = $1 order by key_id`, server)
}

// ServerKeyDocument returns the answer with a number.
func (tx *ReadTx) ServerKeyDocument(nid int64) (json.RawMessage, error) {
	var document string
	err := tx.queryRow("select document from server_key_documents where nid = $1", nid).Scan(&document)
	return json.RawMessage(document), err
}

// PutServerKeys stores the keys of one answer of a server, and the answer. Keys that are not in it stay as they are, while there are not too
// many.
func (tx *Tx) PutServerKeys(server id.ServerName, keys []ServerKey, document json.RawMessage) error {
	if len(keys) == 0 {
		return nil
	}
	before, err := collect(&tx.ReadTx, scanOne[int64], "select distinct document from server_keys where server = $1 order by document", server)
	if err != nil {
		return err
	}
	var nid int64
	err = tx.queryRow("insert into server_key_documents (document) values ($1) returning nid", string(document)).Scan(&nid)
	if err != nil {
		return err
	}
	for _, k := range keys {
		_, err := tx.exec(`insert into server_keys (server, key_id, public_key, valid_until, expired, fetched, document)
			values ($1, $2, $3, $4, $5, $6, $7)
			on conflict (server, key_id) do update set public_key = excluded.public_key, valid_until = excluded.valid_until,
				expired = excluded.expired, fetched = excluded.fetched, document = excluded.document`,
			server, k.KeyID, k.Public, k.ValidUntil, k.Expired, k.Fetched, nid)
		if err != nil {
			return err
		}
	}
	_, err = tx.exec(`delete from server_keys where server = $1 and key_id not in
		(select key_id from server_keys where server = $1 order by fetched desc, key_id limit $2)`, server, maxServerKeys)
	if err != nil {
		return err
	}
	_, err = tx.exec("delete from server_key_documents where "+tx.inInts("nid", 1)+
		" and not exists (select 1 from server_keys where document = nid)", list(before))
	return err
}
