#!/usr/bin/env bash
# Unpacks what scripts/bundle-deps.sh collected (which puts this script beside it as unpack.sh) into a folder of the
# user's, without root, and writes FOLDER/env.sh, which sets what a build from there needs.
#
#   unpack.sh FOLDER
set -euo pipefail
bundle=$(cd "$(dirname "$0")" && pwd)
[ $# -eq 1 ] || { echo "usage: unpack.sh FOLDER" >&2; exit 2; }
mkdir -p "$1"
root=$(cd "$1" && pwd)

for package in "$bundle"/packages/*.deb; do dpkg -x "$package" "$root"; done

# Links that say where a file is on an installed system say where it is here.
find "$root" -type l -lname '/*' -print0 | while IFS= read -r -d '' link; do
  to=$(readlink "$link")
  [ "${to#"$root"}" != "$to" ] || [ ! -e "$root$to" ] || ln -sfn "$root$to" "$link"
done

# Commands: the compiler looks into this folder, and not into the system's; names that installing would have made.
compiler=$(basename "$(find "$root/usr/bin" -name 'g++-[0-9]*' | sort -V | tail -1)")
version=${compiler#g++-}
mkdir -p "$root/commands" "$root/run"
command_of() {  # NAME COMMAND...
  printf '#!/bin/sh\nexec %s "$@"\n' "${*:2}" > "$root/commands/$1"
  chmod +x "$root/commands/$1"
}
here="--sysroot=$root -B$root/usr/bin"
for name in gcc cc; do command_of "$name" "$root/usr/bin/gcc-$version" "$here"; done
for name in g++ c++; do command_of "$name" "$root/usr/bin/g++-$version" "$here"; done
for name in cmake ctest cpack ninja pkg-config; do command_of "$name" "$root/usr/bin/$name"; done
for name in mpicc mpicxx mpirun mpiexec; do command_of "$name" "$root/usr/bin/$name.openmpi"; done

# Libraries for running, but for those of the C library, which is the system's.
of_c_library=$(for package in "$bundle"/packages/libc6_*.deb; do dpkg -c "$package" | sed -n 's|.*/\([^/ ]*\.so[^/ ]*\).*|\1|p'; done)
for library in "$root"/lib/*-linux-gnu/*.so* "$root"/usr/lib/*-linux-gnu/*.so* "$root"/usr/lib/*-linux-gnu/openmpi/lib/*.so*; do
  [ -e "$library" ] || continue
  grep -qxF "$(basename "$library")" <<<"$of_c_library" || ln -sfn "$library" "$root/run/$(basename "$library")"
done
# Those that installing would have chosen among several of a kind.
for library in "$root"/usr/lib/libpsm1/*.so.*; do
  [ ! -e "$library" ] || ln -sfn "$library" "$root/run/$(basename "${library%.*}")"
done

libraries=$(dirname "$(find "$root/usr/lib" -maxdepth 2 -name 'libstdc++.so.6' | head -1)")
cat > "$root/env.sh" <<END
export PATH="$root/commands:\$PATH"
export LD_LIBRARY_PATH="$root/run\${LD_LIBRARY_PATH:+:\$LD_LIBRARY_PATH}"
export CC="$root/commands/gcc" CXX="$root/commands/g++" CUDAHOSTCXX="$root/commands/g++"
export CMAKE_PREFIX_PATH="$root/usr\${CMAKE_PREFIX_PATH:+:\$CMAKE_PREFIX_PATH}"
export PKG_CONFIG_SYSROOT_DIR="$root"
export PKG_CONFIG_LIBDIR="$libraries/pkgconfig:$root/usr/lib/pkgconfig:$root/usr/share/pkgconfig"
export OPAL_PREFIX="$root/usr" PMIX_INSTALL_PREFIX="$libraries/pmix2" PMIX_MCA_mca_base_component_path="$libraries/pmix2/lib/pmix"
command -v ssh >/dev/null || command -v rsh >/dev/null || export OMPI_MCA_plm=isolated  # mpirun on this machine alone
END
echo "$root: $(du -sh "$root" | cut -f1). Before building, and before running what was built:"
echo "  source $root/env.sh"
