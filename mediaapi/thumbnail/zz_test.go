package thumbnail
import ("testing";"os";"image";"image/color")
func TestZZ(t *testing.T){ var pictures []image.Image
	for n := range 40 {
		p := plain(480, 270, corners[n%4])
		for x := range 100 {
			p.SetNRGBA(x+n*5, 100, color.NRGBA{255, 255, 255, 255})
		}
		pictures = append(pictures, p)
	}
	os.WriteFile("/tmp/thumb/bench.gif", gifOf(t, 0, []int{4}, pictures...),0o644) }
