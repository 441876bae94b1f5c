package storage

// URLPreview is the answer about a link. Times are milliseconds since the epoch.
type URLPreview struct {
	URL       string
	Status    int    // HTTP status
	Body      string // JSON if Status is 200, else the text of the error
	FetchedTS int64
	ExpiresTS int64
}

// URLPreview returns the answer about a link that has not expired at the time now.
func (tx *ReadTx) URLPreview(url string, now int64) (URLPreview, error) {
	p := URLPreview{URL: url}
	err := tx.queryRow("select status, body, fetched_ts, expires_ts from url_previews where url = $1 and expires_ts > $2", url, now).
		Scan(&p.Status, &p.Body, &p.FetchedTS, &p.ExpiresTS)
	return p, err
}

// PutURLPreview keeps an answer about a link in place of an older one.
func (tx *Tx) PutURLPreview(p URLPreview) error {
	_, err := tx.exec(`insert into url_previews (url, status, body, fetched_ts, expires_ts) values ($1, $2, $3, $4, $5)
		on conflict (url) do update set status = excluded.status, body = excluded.body, fetched_ts = excluded.fetched_ts,
		expires_ts = excluded.expires_ts`, p.URL, p.Status, p.Body, p.FetchedTS, p.ExpiresTS)
	return err
}

// DeleteExpiredURLPreviews removes answers that expired before now, and says how many.
func (tx *Tx) DeleteExpiredURLPreviews(now int64) (int64, error) {
	return tx.exec("delete from url_previews where expires_ts <= $1", now)
}
