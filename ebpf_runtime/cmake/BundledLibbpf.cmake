# SPDX-License-Identifier: Apache-2.0
#
# libbpf, with libelf and zlib inside, as one shared library for the runtime: _libbpf.so. Beside it
# _walker.so, the runtime's own compiled helper.
#
# Reads
#   EBPF_LIBBPF_SOURCE        folder with libbpf/, elfutils/, zlib/, include/ and sources.toml, as
#                             `make deps` lays it out
#   EBPF_LIBBPF_ARCHITECTURE  x86_64 or aarch64; the building machine's where it is not given
#
# The compiler is `zig cc` of the package ziglang: it brings glibc 2.17's headers and stubs for both
# architectures, so the library needs no newer glibc, whatever machine it was built on.
#
# This file is also the recipe that the licence of libelf asks for: it comes with the library, and
# whoever wants another libelf inside changes elfutils/ and builds again (see licenses/README.txt).

include_guard()
cmake_policy(PUSH)
cmake_policy(VERSION 3.20...4.0)

get_filename_component(_libbpf_source "${EBPF_LIBBPF_SOURCE}" ABSOLUTE)
foreach(_libbpf_part libbpf/src/libbpf.map elfutils/libelf/libelf.h zlib/zlib.h
        include/bpf/bpf_helpers.h include/bpf/usdt.bpf.h sources.toml)
  if(NOT EXISTS "${_libbpf_source}/${_libbpf_part}")
    message(FATAL_ERROR
      "build libbpf from EBPF_LIBBPF_SOURCE=${EBPF_LIBBPF_SOURCE}: there is no ${_libbpf_part} in it. "
      "Run make deps, which lays such a folder out as build/deps.")
  endif()
endforeach()

if(NOT EBPF_LIBBPF_ARCHITECTURE)
  set(EBPF_LIBBPF_ARCHITECTURE "${CMAKE_HOST_SYSTEM_PROCESSOR}")
endif()
if(NOT EBPF_LIBBPF_ARCHITECTURE MATCHES "^(x86_64|aarch64)$")
  message(FATAL_ERROR
    "build libbpf for ${EBPF_LIBBPF_ARCHITECTURE}: not an architecture of this project. "
    "Set EBPF_LIBBPF_ARCHITECTURE to x86_64 or aarch64.")
endif()

find_package(Python 3.11 REQUIRED COMPONENTS Interpreter)
execute_process(
  COMMAND "${Python_EXECUTABLE}" -m ziglang version
  RESULT_VARIABLE _libbpf_result OUTPUT_VARIABLE _libbpf_zig ERROR_QUIET
  OUTPUT_STRIP_TRAILING_WHITESPACE)
if(NOT _libbpf_result EQUAL 0)
  message(FATAL_ERROR
    "build libbpf: its compiler, the package ziglang, is not installed for ${Python_EXECUTABLE}. "
    "Run pip install 'ziglang==0.15.2', or build without --no-build-isolation.")
endif()
message(STATUS "libbpf: for ${EBPF_LIBBPF_ARCHITECTURE}, by zig cc ${_libbpf_zig}")

set(_libbpf_build "${CMAKE_CURRENT_BINARY_DIR}/libbpf")
# The caches: zig would keep them in the user's home.
set(_libbpf_cc
    "${CMAKE_COMMAND}" -E env "ZIG_GLOBAL_CACHE_DIR=${_libbpf_build}/cache"
    "ZIG_LOCAL_CACHE_DIR=${_libbpf_build}/cache"
    "${Python_EXECUTABLE}" -m ziglang cc -target "${EBPF_LIBBPF_ARCHITECTURE}-linux-gnu.2.17")
# For size: what libbpf does is done once for each probe, and the kernel's part takes most of it. Only
# btf.c is for speed (see below), which reads all types of the kernel whenever a probe is loaded. No
# path of the building machine gets into the library, by debug information or by __FILE__. libelf has
# one integer for each thread: small enough for static TLS, which needs no help of ld-linux.so.
set(_libbpf_flags
    -Oz -g0 -fPIC -fvisibility=hidden -ffunction-sections -fdata-sections -fstack-protector-strong
    -fno-asynchronous-unwind-tables -fno-unwind-tables -ftls-model=initial-exec -fno-sanitize=all -w -D_GNU_SOURCE -D_LARGEFILE64_SOURCE -D_FILE_OFFSET_BITS=64
    "-ffile-prefix-map=${_libbpf_source}/=" "-ffile-prefix-map=${_libbpf_build}/=")

# What elfutils' configure would find out about glibc 2.17.
file(WRITE "${_libbpf_build}/config.h.new" [[
#define PACKAGE_NAME "elfutils"
#define HAVE_DECL_MEMPCPY 1
#define HAVE_DECL_MEMRCHR 1
#define HAVE_DECL_POWEROF2 1
#define HAVE_DECL_RAWMEMCHR 1
#define HAVE_DECL_REALLOCARRAY 0
#define HAVE_ERROR_H 1
#define HAVE_FALLTHROUGH 1
#define HAVE_MREMAP 1
#define HAVE_STDATOMIC_H 1
#define HAVE_VISIBILITY 1
#include <eu-config.h>
]])
configure_file("${_libbpf_build}/config.h.new" "${_libbpf_build}/config.h" COPYONLY)

set(_libbpf_objects "")

# _libbpf_compile(<part> <files> <option>...): compile C files, named by a pattern
function(_libbpf_compile part files)
  file(GLOB sources CONFIGURE_DEPENDS "${_libbpf_source}/${files}")
  file(MAKE_DIRECTORY "${_libbpf_build}/${part}")
  foreach(source IN LISTS sources)
    get_filename_component(name "${source}" NAME_WE)
    set(object "${_libbpf_build}/${part}/${name}.o")
    set(fast "")
    if(source STREQUAL "${_libbpf_source}/libbpf/src/btf.c")
      set(fast -O2)
    endif()
    add_custom_command(
      OUTPUT "${object}"
      COMMAND ${_libbpf_cc} ${_libbpf_flags} ${fast} ${ARGN} -MD -MF "${object}.d" -c "${source}" -o "${object}"
      DEPENDS "${source}"
      DEPFILE "${object}.d"
      COMMENT "Compiling ${part}/${name}.c"
      VERBATIM)
    list(APPEND _libbpf_objects "${object}")
  endforeach()
  set(_libbpf_objects "${_libbpf_objects}" PARENT_SCOPE)
endfunction()

_libbpf_compile(libbpf libbpf/src/*.c
  -std=gnu89 -DSHARED
  "-I${_libbpf_source}/libbpf/include" "-I${_libbpf_source}/libbpf/include/uapi"
  "-I${_libbpf_source}/elfutils/libelf" "-I${_libbpf_source}/zlib")
set(_libbpf_elfutils
  -std=gnu99 -DHAVE_CONFIG_H
  "-I${_libbpf_build}" "-I${_libbpf_source}/elfutils/libelf" "-I${_libbpf_source}/elfutils/lib"
  "-I${_libbpf_source}/zlib")
_libbpf_compile(libelf elfutils/libelf/*.c ${_libbpf_elfutils})
_libbpf_compile(libeu elfutils/lib/eu-search.c ${_libbpf_elfutils})
_libbpf_compile(zlib zlib/*.c -DHAVE_HIDDEN -DHAVE_UNISTD_H)

# Only what libbpf.map names is exported: no other libelf or zlib in the process is disturbed.
set(_libbpf_library "${_libbpf_build}/_libbpf.so")
list(JOIN _libbpf_objects "\n" _libbpf_list)
file(WRITE "${_libbpf_build}/objects.new" "${_libbpf_list}\n")
configure_file("${_libbpf_build}/objects.new" "${_libbpf_build}/objects" COPYONLY)
add_custom_command(
  OUTPUT "${_libbpf_library}"
  COMMAND ${_libbpf_cc} -shared -s -Wl,--as-needed -Wl,--gc-sections -Wl,--no-undefined -Wl,--hash-style=gnu -Wl,-z,relro -Wl,-z,now
          -Wl,-soname,_libbpf.so "-Wl,--version-script=${_libbpf_source}/libbpf/src/libbpf.map"
          "@${_libbpf_build}/objects" -o "${_libbpf_library}"
  DEPENDS ${_libbpf_objects} "${_libbpf_source}/libbpf/src/libbpf.map" "${_libbpf_build}/objects"
  COMMENT "Linking _libbpf.so"
  VERBATIM)
add_custom_target(ebpf_libbpf ALL DEPENDS "${_libbpf_library}")
install(PROGRAMS "${_libbpf_library}" DESTINATION ebpf_runtime)

# The compiled helper of the streams: a library of its own, which needs no other, so that it also
# serves beside a libbpf that EBPF_LIBBPF names.
get_filename_component(_walker_source "${CMAKE_CURRENT_LIST_DIR}/../_walker.c" ABSOLUTE)
set(_walker_library "${_libbpf_build}/_walker.so")
add_custom_command(
  OUTPUT "${_walker_library}"
  COMMAND ${_libbpf_cc} -O2 -g0 -fPIC -fvisibility=hidden -fno-sanitize=all -Wall -Werror -shared -s -nostdlib
          -Wl,--no-undefined -Wl,-z,relro -Wl,-z,now -Wl,-soname,_walker.so
          "${_walker_source}" -o "${_walker_library}"
  DEPENDS "${_walker_source}"
  COMMENT "Compiling _walker.so"
  VERBATIM)
add_custom_target(ebpf_walker ALL DEPENDS "${_walker_library}")
install(PROGRAMS "${_walker_library}" DESTINATION ebpf_runtime)

# Their terms, what they are, and how to build them again.
set(_libbpf_licences ebpf_runtime/licenses)
install(FILES "${CMAKE_CURRENT_LIST_DIR}/BundledLibbpf.txt"
        DESTINATION ${_libbpf_licences} RENAME README.txt)
install(FILES "${_libbpf_source}/sources.toml" DESTINATION ${_libbpf_licences})
install(FILES "${_libbpf_source}/libbpf/LICENSE" "${_libbpf_source}/libbpf/LICENSE.BSD-2-Clause"
        DESTINATION ${_libbpf_licences}/libbpf)
install(FILES "${_libbpf_source}/elfutils/COPYING" "${_libbpf_source}/elfutils/COPYING-LGPLV3"
        DESTINATION ${_libbpf_licences}/elfutils)
install(FILES "${_libbpf_source}/zlib/LICENSE" DESTINATION ${_libbpf_licences}/zlib)

cmake_policy(POP)
