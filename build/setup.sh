#!/usr/bin/env bash
# Makes sure that Hearth can be built here: Go, a C compiler, pkg-config and libvips. On Debian and its kin it installs what is
# missing, elsewhere it says what to install.
set -euo pipefail

go=${GO:-go}
if ! command -v "$go" >/dev/null; then
	echo "Hearth needs Go 1.26 or newer, which is not in the PATH: https://go.dev/dl/" >&2
	exit 1
fi

cc=$("$go" env CC)
packages=()
command -v "${cc%% *}" >/dev/null || packages+=(gcc libc6-dev)
command -v pkg-config >/dev/null || packages+=(pkg-config)
pkg-config --exists 'vips >= 8.12' 2>/dev/null || packages+=(libvips-dev)
[ ${#packages[@]} -gt 0 ] || exit 0

if ! command -v apt-get >/dev/null; then
	cat >&2 <<-TEXT
		Hearth needs a C compiler, pkg-config and libvips 8.12 or newer with its headers. Please install them:
		  Fedora   dnf install gcc pkgconf-pkg-config vips-devel
		  Arch     pacman -S gcc pkgconf libvips
		  Alpine   apk add build-base pkgconf vips-dev
		  macOS    brew install pkg-config vips
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
echo "Installing ${packages[*]} (apt-get), which Hearth is built with."
export DEBIAN_FRONTEND=noninteractive
"${sudo[@]}" apt-get update -q
"${sudo[@]}" apt-get install -q -y --no-install-recommends "${packages[@]}"
