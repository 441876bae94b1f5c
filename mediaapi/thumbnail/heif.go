package thumbnail

import (
	"encoding/binary"
	"fmt"
)

// Bounds on what a HEIF file may list; a phone's photo has about sixty items and thirty properties.
const (
	maxBoxes      = 4096
	maxItems      = 2048
	maxProperties = 1024
	maxTiles      = 4096
)

var be = binary.BigEndian

// span is a part of the file.
type span struct{ from, size int64 }

func (s span) end() int64 { return s.from + s.size }

// heif is what the meta box of a HEIC or AVIF file says (ISO/IEC 23008-12). The sizes stated there (ispe) are only claims: a decoder
// allocates what the coded picture's own header says, so heifcost.go reads those as well.
type heif struct {
	r          *reader
	boxCount   int
	primary    int64
	idat       span
	properties []property
	items      map[int64]*heifItem
}

// property is an entry of the ipco box; zero when of a kind that does not matter here.
type property struct {
	width, height int64 // ispe
	turned        bool  // irot by 90 or 270 degrees
	coded         int64 // pixels, from the sequence header in hvcC or av1C
}

// heifItem is a picture, a grid of pictures, or metadata.
type heifItem struct {
	kind       string
	properties []int
	extents    []span
	inIdat     bool
	tiles      []int64
}

// probeHEIF reads the meta box and the headers of the coded pictures. libheif turns and mirrors by itself, so the orientation is
// reported as upright.
func probeHEIF(r *reader) (Info, error) {
	h := &heif{r: r, items: map[int64]*heifItem{}}
	var info Info
	err := h.boxes(span{0, r.size}, func(kind string, body span) error {
		if kind == "meta" && h.primary == 0 {
			return h.readMeta(body)
		}
		return nil
	})
	if err != nil {
		return Info{}, err
	}
	primary := h.items[h.primary]
	if primary == nil {
		return Info{}, broken("HEIF without a primary picture")
	}
	turned := false
	for _, p := range h.propertiesOf(primary) {
		if p.width > 0 {
			info.Width, info.Height = int(p.width), int(p.height)
		}
		turned = turned || p.turned
	}
	if turned {
		info.Width, info.Height = info.Height, info.Width
	}
	info.pixels, err = h.cost(primary)
	info.Format = HEIC
	for _, it := range h.items {
		if it.kind == "av01" {
			info.Format = AVIF
		}
	}
	return info, err
}

func (h *heif) propertiesOf(it *heifItem) []property {
	var out []property
	for _, n := range it.properties {
		if n >= 1 && n <= len(h.properties) {
			out = append(out, h.properties[n-1])
		}
	}
	return out
}

// boxes hands each box inside the span to see, which may move the reader.
func (h *heif) boxes(in span, see func(kind string, body span) error) error {
	for at := in.from; at+8 <= in.end(); {
		if h.boxCount++; h.boxCount > maxBoxes {
			return broken("HEIF of more than %d boxes", maxBoxes)
		}
		h.r.seek(at)
		size, kind, header := h.r.u32(be), string(h.r.bytes(4)), int64(8)
		switch size {
		case 0:
			size = in.end() - at
		case 1:
			size, header = h.r.u32(be)<<32|h.r.u32(be), 16
		}
		if h.r.err != nil || size < header || size > in.end()-at {
			return h.r.failure("HEIF box")
		}
		if err := see(kind, span{at + header, size - header}); err != nil {
			return err
		}
		if h.r.err != nil {
			return h.r.failure("HEIF box " + kind)
		}
		at += size
	}
	return nil
}

// full enters a full box and returns its version, its flags and what follows them.
func (h *heif) full(body span) (version, flags int, rest span) {
	h.r.seek(body.from)
	version, flags = h.r.u8(), h.r.u24(be)
	return version, flags, span{body.from + 4, max(body.size-4, 0)}
}

func (h *heif) readMeta(body span) error {
	_, _, body = h.full(body)
	return h.boxes(body, func(kind string, body span) error {
		switch kind {
		case "pitm":
			version, _, _ := h.full(body)
			h.primary = h.id(version > 0)
		case "iinf":
			version, _, rest := h.full(body)
			width := int64(2)
			if version > 0 {
				width = 4
			}
			return h.boxes(span{rest.from + width, max(rest.size-width, 0)}, h.readItem)
		case "iprp":
			return h.boxes(body, func(kind string, body span) error {
				switch kind {
				case "ipco":
					return h.boxes(body, h.readProperty)
				case "ipma":
					return h.readAssociations(body)
				default:
					return nil
				}
			})
		case "iloc":
			return h.readLocations(body)
		case "iref":
			return h.readReferences(body)
		case "idat":
			h.idat = body
		}
		return nil
	})
}

// id reads an item id, of which there are a short and a long form.
func (h *heif) id(long bool) int64 {
	if long {
		return h.r.u32(be)
	}
	return int64(h.r.u16(be))
}

func (h *heif) item(id int64) (*heifItem, error) {
	it := h.items[id]
	if it == nil {
		if len(h.items) >= maxItems {
			return nil, broken("HEIF of more than %d items", maxItems)
		}
		it = &heifItem{}
		h.items[id] = it
	}
	return it, nil
}

func (h *heif) readItem(kind string, body span) error {
	if kind != "infe" {
		return nil
	}
	version, _, _ := h.full(body)
	if version < 2 {
		return nil
	}
	it, err := h.item(h.id(version > 2))
	if err != nil {
		return err
	}
	h.r.skip(2)
	it.kind = string(h.r.bytes(4))
	return nil
}

func (h *heif) readProperty(kind string, body span) error {
	if len(h.properties) >= maxProperties {
		return broken("HEIF of more than %d properties", maxProperties)
	}
	var p property
	var err error
	switch kind {
	case "ispe":
		h.full(body)
		p.width, p.height = h.r.u32(be), h.r.u32(be)
		if p.width > 1<<20 || p.height > 1<<20 {
			return fmt.Errorf("%w: HEIF of %d x %d pixels", ErrTooLarge, p.width, p.height)
		}
	case "irot":
		h.r.seek(body.from)
		p.turned = h.r.u8()&1 == 1
	case "hvcC":
		p.coded, err = h.hevcConfig(body)
	case "av1C":
		if body.size > 4 {
			p.coded, err = h.av1Units(span{body.from + 4, body.size - 4})
		}
	}
	h.properties = append(h.properties, p)
	return err
}

func (h *heif) readAssociations(body span) error {
	version, flags, _ := h.full(body)
	for n := h.r.u32(be); n > 0 && h.r.err == nil; n-- {
		it, err := h.item(h.id(version > 0))
		if err != nil {
			return err
		}
		for k := h.r.u8(); k > 0; k-- {
			if flags&1 == 1 {
				it.properties = append(it.properties, h.r.u16(be)&0x7fff)
			} else {
				it.properties = append(it.properties, h.r.u8()&0x7f)
			}
		}
		if len(it.properties) > maxProperties {
			return broken("HEIF item of more than %d properties", maxProperties)
		}
	}
	return nil
}

func (h *heif) readLocations(body span) error {
	version, _, _ := h.full(body)
	sizes := h.r.u16(be)
	offsetSize, lengthSize, baseSize, indexSize := sizes>>12, sizes>>8&15, sizes>>4&15, sizes&15
	if version == 0 {
		indexSize = 0
	}
	for n := h.id(version > 1); n > 0 && h.r.err == nil; n-- {
		it, err := h.item(h.id(version > 1))
		if err != nil {
			return err
		}
		method := 0
		if version > 0 {
			method = h.r.u16(be) & 15
		}
		it.inIdat = method == 1
		h.r.skip(2)
		base := h.number(baseSize)
		count := h.r.u16(be)
		if method > 1 || count > 1 {
			return unsupported("HEIF item in %d parts (method %d)", count, method)
		}
		for ; count > 0; count-- {
			h.number(indexSize)
			it.extents = append(it.extents[:0], span{base + h.number(offsetSize), h.number(lengthSize)})
		}
	}
	return nil
}

// number reads an integer of 0, 4 or 8 bytes.
func (h *heif) number(size int) int64 {
	switch size {
	case 4:
		return h.r.u32(be)
	case 8:
		return h.r.u32(be)<<32 | h.r.u32(be)
	case 0:
		return 0
	default:
		h.r.err = errShort
		return 0
	}
}

func (h *heif) readReferences(body span) error {
	version, _, rest := h.full(body)
	return h.boxes(rest, func(kind string, body span) error {
		if kind != "dimg" {
			return nil
		}
		h.r.seek(body.from)
		it, err := h.item(h.id(version > 0))
		if err != nil {
			return err
		}
		for n := h.r.u16(be); n > 0 && h.r.err == nil; n-- {
			if len(it.tiles) >= maxTiles {
				return broken("HEIF grid of more than %d tiles", maxTiles)
			}
			it.tiles = append(it.tiles, h.id(version > 0))
		}
		return nil
	})
}
