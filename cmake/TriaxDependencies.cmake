# The libraries the project stands on. All are Debian packages; scripts/install-deps.sh installs them.


macro(triax_find package apt_name)
  find_package(${package} QUIET ${ARGN})
  if(NOT ${package}_FOUND)
    message(FATAL_ERROR "${package} was not found. Install it with `apt-get install ${apt_name}` "
                        "(or run scripts/install-deps.sh, which installs everything triax needs).")
  endif()
endmacro()

triax_find(OpenMP g++)
triax_find(Threads g++)
triax_find(fmt libfmt-dev)
triax_find(spdlog libspdlog-dev)
triax_find(tomlplusplus libtomlplusplus-dev)
triax_find(CLI11 libcli11-dev)
triax_find(simdjson libsimdjson-dev)
triax_find(nlohmann_json nlohmann-json3-dev)
triax_find(ICU libicu-dev COMPONENTS uc i18n data)
triax_find(ZLIB zlib1g-dev)
triax_find(PkgConfig pkg-config)

# MPI: the C interface only, which every MPI has; its compiler wrapper is asked what to link.
enable_language(C)
triax_find(MPI "libopenmpi-dev openmpi-bin" COMPONENTS C)

# oneDNN: Debian's CMake file asks for OpenCL headers that nothing here needs, so it is found by hand.
find_path(DNNL_INCLUDE_DIR dnnl.hpp)
find_library(DNNL_LIBRARY dnnl)
if(NOT DNNL_INCLUDE_DIR OR NOT DNNL_LIBRARY)
  message(FATAL_ERROR "oneDNN was not found. Install it with `apt-get install libdnnl-dev`.")
endif()
add_library(DNNL::dnnl UNKNOWN IMPORTED)
set_target_properties(DNNL::dnnl PROPERTIES IMPORTED_LOCATION "${DNNL_LIBRARY}"
  INTERFACE_INCLUDE_DIRECTORIES "${DNNL_INCLUDE_DIR}")

pkg_check_modules(hwy REQUIRED IMPORTED_TARGET libhwy)
pkg_check_modules(zstd REQUIRED IMPORTED_TARGET libzstd)
pkg_check_modules(xxhash REQUIRED IMPORTED_TARGET libxxhash)
pkg_check_modules(sentencepiece REQUIRED IMPORTED_TARGET sentencepiece)
if(TRIAX_TESTS)
  triax_find(GTest libgtest-dev)
  include(GoogleTest)
endif()
if(TRIAX_BENCH)
  triax_find(benchmark libbenchmark-dev)
endif()
