#!/usr/bin/env bash
# Makes sure that Hearth can be built and run here: Go and a C compiler, and libvips, which the running server looks for when the first
# thumbnail is wanted. On Debian and its kin it installs what is missing, elsewhere it says what to install.
set -euo pipefail

go=${GO:-go}
if ! command -v "$go" >/dev/null; then
	echo "Hearth needs Go 1.26 or newer, which is not in the PATH: https://go.dev/dl/" >&2
	exit 1
fi

cc=$("$go" env CC)
packages=()
command -v "${cc%% *}" >/dev/null || packages+=(gcc libc6-dev)
# The library alone, no headers: nothing is linked with it.
have_libvips() {
	case "$(PATH=$PATH:/sbin:/usr/sbin ldconfig -p 2>/dev/null)" in *libvips.so.42*) return 0 ;; esac
	for file in /usr/lib/libvips.so.42 /usr/lib/*/libvips.so.42 /usr/local/lib/libvips*42* /opt/homebrew/lib/libvips.42.dylib; do
		[ ! -e "$file" ] || return 0
	done
	return 1
}
have_libvips || packages+=(libvips42)
[ ${#packages[@]} -gt 0 ] || exit 0

if ! command -v apt-get >/dev/null; then
	cat >&2 <<-TEXT
		Hearth needs a C compiler, and libvips 8.13 or newer for thumbnails. Please install them:
		  Fedora   dnf install gcc vips
		  Arch     pacman -S gcc libvips
		  Alpine   apk add build-base vips vips-heif
		  macOS    brew install vips
		Then run make again.
	TEXT
	exit 1
fi

sudo=()
if [ "$(id -u)" != 0 ]; then
	if ! command -v sudo >/dev/null; then
		echo "Missing: ${packages[*]}. Please install them as root: apt-get install ${packages[*]}" >&2
		exit 1
	fi
	sudo=(sudo)
fi
echo "Installing ${packages[*]} (apt-get), which Hearth needs."
export DEBIAN_FRONTEND=noninteractive
"${sudo[@]}" apt-get update -q
"${sudo[@]}" apt-get install -q -y --no-install-recommends "${packages[@]}"
