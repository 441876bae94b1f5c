package storage

// Thumbnail is a picture made from media. The first five fields are what was asked for.
type Thumbnail struct {
	Media         int64 // Media.NID
	Width, Height int
	Method        string // crop or scale
	Animated      bool
	Blob          string // hash of the bytes; empty: the media itself is what to serve
	Size          int64
	ContentType   string
}

// Thumbnail returns the thumbnail that was made for what want asks for.
func (tx *ReadTx) Thumbnail(want Thumbnail) (Thumbnail, error) {
	t := want
	err := tx.queryRow(`select blob, size, content_type from media_thumbnails
		where media = $1 and width = $2 and height = $3 and method = $4 and animated = $5`,
		want.Media, want.Width, want.Height, want.Method, want.Animated).Scan(&t.Blob, &t.Size, &t.ContentType)
	return t, err
}

// LargerThumbnail returns the smallest still of all of the media, in a file of its own, that was asked for in at least this size.
func (tx *ReadTx) LargerThumbnail(media int64, width, height int) (Thumbnail, error) {
	t := Thumbnail{Media: media, Method: "scale"}
	err := tx.queryRow(`select width, height, blob, size, content_type from media_thumbnails
		where media = $1 and method = $2 and animated = $3 and blob <> '' and width >= $4 and height >= $5 order by width limit 1`,
		media, t.Method, false, width, height).Scan(&t.Width, &t.Height, &t.Blob, &t.Size, &t.ContentType)
	return t, err
}

// InsertThumbnail keeps a thumbnail, in place of one that was made for the same request. If its media is gone it is not kept and ErrNotFound
// returned.
func (tx *Tx) InsertThumbnail(t Thumbnail) error {
	there, err := tx.exists("select 1 from media where nid = $1", t.Media)
	if err != nil {
		return err
	}
	if !there {
		return ErrNotFound
	}
	_, err = tx.exec(`insert into media_thumbnails (media, width, height, method, animated, blob, size, content_type)
		values ($1, $2, $3, $4, $5, $6, $7, $8)
		on conflict (media, width, height, method, animated)
		do update set blob = excluded.blob, size = excluded.size, content_type = excluded.content_type`,
		t.Media, t.Width, t.Height, t.Method, t.Animated, t.Blob, t.Size, t.ContentType)
	return err
}
