package thumbnail

// Format is a kind of image file.
type Format uint8

// The formats that Probe tells apart.
const (
	Unknown Format = iota
	JPEG
	PNG
	GIF
	WebP
	TIFF
	HEIC
	AVIF
)

// ContentType returns the media type of the format, e.g. "image/jpeg"; for Unknown "application/octet-stream".
func (f Format) ContentType() string {
	switch f {
	case JPEG:
		return "image/jpeg"
	case PNG:
		return "image/png"
	case GIF:
		return "image/gif"
	case WebP:
		return "image/webp"
	case TIFF:
		return "image/tiff"
	case HEIC:
		return "image/heic"
	case AVIF:
		return "image/avif"
	default:
		return "application/octet-stream"
	}
}

// Shown reports whether clients show files of the format, so that a file may stand for its thumbnail.
func (f Format) Shown() bool { return f >= JPEG && f <= WebP }

// sniffLen is how many leading bytes sniff wants to see.
const sniffLen = 12

// sniff names the format by the file's first bytes, nothing else: neither a declared content type nor a file name is trusted.
func sniff(head []byte) Format {
	has := func(at int, magic string) bool {
		return len(head) >= at+len(magic) && string(head[at:at+len(magic)]) == magic
	}
	switch {
	case has(0, "\xff\xd8\xff"):
		return JPEG
	case has(0, "\x89PNG\r\n\x1a\n"):
		return PNG
	case has(0, "GIF87a"), has(0, "GIF89a"):
		return GIF
	case has(0, "RIFF") && has(8, "WEBP"):
		return WebP
	case has(0, "II*\x00"), has(0, "MM\x00*"):
		return TIFF
	case has(4, "ftyp"):
		switch {
		case has(8, "avif"), has(8, "avis"):
			return AVIF
		case has(8, "heic"), has(8, "heix"), has(8, "heim"), has(8, "heis"), has(8, "hevc"), has(8, "hevx"), has(8, "mif1"), has(8, "msf1"):
			return HEIC
		}
	}
	return Unknown
}
