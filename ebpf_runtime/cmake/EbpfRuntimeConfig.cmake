# SPDX-License-Identifier: Apache-2.0
#
# find_package(EbpfRuntime) gives any package
#
#   ebpf_add_probes(PACKAGE <folder> SOURCES <x.bpf.c>... [GENERATED <folder>] [INCLUDE <folder>...]
#                   [RECORDS <x>:<map>=<type>...] [ARCHITECTURES <x86_64|arm64>...])
#
# which compiles each source for every supported architecture, generates its bindings module, and
# installs both, with the flattened source and the digests, into <folder> of the wheel.
#
#   PACKAGE    the import package that gets them, as a path: acme_probes or acme/probes
#   GENERATED  checked-in bindings; the build fails, with a diff, where the new ones differ
#   INCLUDE    further folders of headers
#   RECORDS    what the records of a ring buffer, perf buffer or iterator program of x.bpf.c are, where
#              the source does not tell; several for one map where it carries several types
#   ARCHITECTURES  whose objects get into the wheel, for wheels that are for one only; default both
#
# Variables it reads:
#   EBPF_LIBBPF_HEADERS  folder that holds bpf/bpf_helpers.h, instead of the one that would be found
#   EBPF_BTF_DIRECTORY   folder of kernels' full BTF, laid out as 'ebpf-codegen min-btf --help' says;
#                        what the probes need of it goes into the package, for kernels without BTF
#   EBPF_LIGHT           whether to make loader programs, by which probes load without libbpf;
#                        by default where the building machine has a libbpf
#
# Environment: EBPF_CLANG, the compiler to use; EBPF_LIBBPF, the libbpf that makes loader programs.

include_guard()
cmake_policy(PUSH)
cmake_policy(VERSION 3.20...4.0)

find_package(Python 3.11 REQUIRED COMPONENTS Interpreter)

# An installed wheel has everything beside the package; a checkout, and an editable install of it,
# keep the generator in tools/ and the headers in bpf/include/.
get_filename_component(_ebpf_package "${CMAKE_CURRENT_LIST_DIR}" DIRECTORY)
get_filename_component(_ebpf_parent "${_ebpf_package}" DIRECTORY)

find_path(EBPF_CODEGEN_DIR ebpf_codegen/__main__.py REQUIRED NO_DEFAULT_PATH NO_CACHE
          PATHS "${_ebpf_parent}" "${_ebpf_parent}/tools")
find_path(EBPF_INCLUDE_DIR probe.bpf.h REQUIRED NO_DEFAULT_PATH NO_CACHE
          PATHS "${_ebpf_package}/include" "${_ebpf_parent}/bpf/include")

# libbpf's headers: those asked for, else those that came with the wheel, else the system's.
if(EBPF_LIBBPF_HEADERS)
  set(_ebpf_headers "${EBPF_LIBBPF_HEADERS}")
else()
  set(_ebpf_headers "${_ebpf_package}/include" /usr/include /usr/local/include)
endif()
find_path(EBPF_LIBBPF_INCLUDE_DIR bpf/bpf_helpers.h NO_DEFAULT_PATH NO_CACHE
          PATHS ${_ebpf_headers})
if(NOT EBPF_LIBBPF_INCLUDE_DIR)
  list(JOIN _ebpf_headers ", " _ebpf_headers)
  message(FATAL_ERROR
    "find libbpf's header bpf/bpf_helpers.h: it is in none of ${_ebpf_headers}. "
    "Install libbpf's headers (apt install libbpf-dev, dnf install libbpf-devel) "
    "or set EBPF_LIBBPF_HEADERS to a folder that holds bpf/bpf_helpers.h.")
endif()

# Asked once here, so that a missing compiler is one message and not one for each probe.
execute_process(
  COMMAND "${Python_EXECUTABLE}" -c [[
import sys
sys.path.insert(0, sys.argv[1])
from ebpf_codegen.compiler import find_compiler
from ebpf_codegen.errors import CodegenError
try:
    print(find_compiler())
except CodegenError as error:
    sys.exit(str(error))
]] "${EBPF_CODEGEN_DIR}"
  RESULT_VARIABLE _ebpf_result
  OUTPUT_VARIABLE _ebpf_compiler OUTPUT_STRIP_TRAILING_WHITESPACE
  ERROR_VARIABLE _ebpf_error ERROR_STRIP_TRAILING_WHITESPACE)
if(NOT _ebpf_result EQUAL 0)
  message(FATAL_ERROR "${_ebpf_error}")
endif()
message(STATUS "BPF compiler: ${_ebpf_compiler}")
message(STATUS "libbpf headers: ${EBPF_LIBBPF_INCLUDE_DIR}")

# Loader programs are made by libbpf.
execute_process(
  COMMAND "${Python_EXECUTABLE}" -c [[
import sys
sys.path.insert(0, sys.argv[1])
from ebpf_runtime import LibraryNotFoundError
from ebpf_runtime.libbpf import library
try:
    found = library()
except LibraryNotFoundError as error:
    sys.exit(str(error))
print(f"{found.libbpf_major_version()}.{found.libbpf_minor_version()}")
]] "${_ebpf_parent}"
  RESULT_VARIABLE _ebpf_result
  OUTPUT_VARIABLE _ebpf_libbpf OUTPUT_STRIP_TRAILING_WHITESPACE
  ERROR_VARIABLE _ebpf_error ERROR_STRIP_TRAILING_WHITESPACE)
if(NOT DEFINED EBPF_LIGHT)
  if(_ebpf_result EQUAL 0)
    set(EBPF_LIGHT ON)
  else()
    set(EBPF_LIGHT OFF)
  endif()
elseif(EBPF_LIGHT AND NOT _ebpf_result EQUAL 0)
  message(FATAL_ERROR "make loader programs, as EBPF_LIGHT asks: ${_ebpf_error}")
endif()
if(EBPF_LIGHT)
  message(STATUS "Loader programs: by libbpf ${_ebpf_libbpf}")
else()
  message(STATUS "Loader programs: none")
endif()
set(EBPF_RUNTIME_PARENT "${_ebpf_parent}")

cmake_policy(POP)

function(ebpf_add_probes)
  cmake_parse_arguments(PARSE_ARGV 0 arg "" "PACKAGE;GENERATED" "SOURCES;INCLUDE;RECORDS;ARCHITECTURES")
  if(NOT arg_PACKAGE OR NOT arg_SOURCES OR arg_UNPARSED_ARGUMENTS OR arg_KEYWORDS_MISSING_VALUES)
    message(FATAL_ERROR
      "ebpf_add_probes: wants PACKAGE <folder> SOURCES <x.bpf.c>... "
      "[GENERATED <folder>] [INCLUDE <folder>...] [RECORDS <x>:<map>=<type>...] "
      "[ARCHITECTURES <x86_64|arm64>...].")
  endif()

  if(NOT arg_ARCHITECTURES)
    set(arg_ARCHITECTURES x86_64 arm64)
  endif()
  set(options "")
  if(arg_GENERATED)
    get_filename_component(generated "${arg_GENERATED}" ABSOLUTE)
    list(APPEND options --generated "${generated}")
  endif()
  foreach(folder IN LISTS arg_INCLUDE ITEMS "${EBPF_INCLUDE_DIR}" "${EBPF_LIBBPF_INCLUDE_DIR}")
    get_filename_component(folder "${folder}" ABSOLUTE)
    list(APPEND options --include "${folder}")
  endforeach()

  foreach(record IN LISTS arg_RECORDS)
    if(NOT record MATCHES "^([A-Za-z0-9_]+):([^=]+=.+)$")
      message(FATAL_ERROR "ebpf_add_probes: '${record}' of RECORDS is not <x>:<map>=<type>.")
    endif()
    set(file "${CMAKE_MATCH_1}.bpf.c")
    set(known ${arg_SOURCES})
    list(FILTER known INCLUDE REGEX "(^|/)${CMAKE_MATCH_1}\\.bpf\\.c$")
    if(NOT known)
      message(FATAL_ERROR "ebpf_add_probes: '${record}' of RECORDS: ${file} is none of SOURCES.")
    endif()
  endforeach()

  # The generator and its templates are inputs of every probe.
  file(GLOB_RECURSE generator CONFIGURE_DEPENDS
       "${EBPF_CODEGEN_DIR}/ebpf_codegen/*.py"
       "${EBPF_CODEGEN_DIR}/ebpf_codegen/templates/*"
       "${EBPF_CODEGEN_DIR}/../templates/*")

  set(output "${CMAKE_CURRENT_BINARY_DIR}/ebpf/${arg_PACKAGE}")
  file(MAKE_DIRECTORY "${output}")
  set(products "")
  set(installed "")
  foreach(source IN LISTS arg_SOURCES)
    get_filename_component(source "${source}" ABSOLUTE)
    get_filename_component(name "${source}" NAME)
    if(NOT name MATCHES "^(.+)\\.bpf\\.c$")
      message(FATAL_ERROR "build probe ${source}: its name does not end in .bpf.c. Rename it.")
    endif()
    set(probe "${CMAKE_MATCH_1}")
    set(stem "${output}/${probe}")
    # The first is the one that the depfile speaks of.
    set(files "${stem}.py" "${stem}.x86_64.bpf.o" "${stem}.arm64.bpf.o" "${stem}.flat.c"
              "${stem}.sha256")
    set(records ${arg_RECORDS})
    list(FILTER records INCLUDE REGEX "^${probe}:")
    list(TRANSFORM records REPLACE "^[^:]+:" "--record=")
    # One that is not there yet is the generator's to report: it names the command that makes it.
    set(checked_in "")
    if(arg_GENERATED AND EXISTS "${generated}/${probe}.py")
      set(checked_in "${generated}/${probe}.py")
    endif()
    # By path and without PYTHONPATH: pip's build isolation lives in PYTHONPATH.
    add_custom_command(
      OUTPUT ${files}
      COMMAND "${Python_EXECUTABLE}" "${EBPF_CODEGEN_DIR}/ebpf_codegen/__main__.py"
              build "${source}" --output "${output}" --depfile "${stem}.d" ${options} ${records}
      DEPENDS "${source}" ${checked_in} ${generator}
      DEPFILE "${stem}.d"
      COMMENT "Building probe ${probe}"
      VERBATIM)
    list(APPEND products ${files})
    list(APPEND installed "${stem}.py" "${stem}.flat.c" "${stem}.sha256")
    foreach(architecture IN LISTS arg_ARCHITECTURES)
      list(APPEND installed "${stem}.${architecture}.bpf.o")
    endforeach()
    if(EBPF_LIGHT)
      set(light "${stem}.x86_64.light" "${stem}.arm64.light" "${stem}.light.sha256")
      add_custom_command(
        OUTPUT ${light}
        COMMAND "${Python_EXECUTABLE}" -c
                "import sys; sys.path.insert(0, sys.argv.pop(1)); from ebpf_runtime.light_maker import main; sys.exit(main(sys.argv[1:]))"
                "${EBPF_RUNTIME_PARENT}" "${output}" "${probe}"
        DEPENDS ${files} "${EBPF_RUNTIME_PARENT}/ebpf_runtime/light_maker.py"
                "${EBPF_RUNTIME_PARENT}/ebpf_runtime/light.py"
        COMMENT "Making the loader programs of ${probe}"
        VERBATIM)
      list(APPEND products ${light})
      list(APPEND installed "${stem}.light.sha256")
      foreach(architecture IN LISTS arg_ARCHITECTURES)
        list(APPEND installed "${stem}.${architecture}.light")
      endforeach()
    endif()
  endforeach()

  if(EBPF_BTF_DIRECTORY)
    get_filename_component(full_btf "${EBPF_BTF_DIRECTORY}" ABSOLUTE BASE_DIR "${CMAKE_SOURCE_DIR}")
    if(NOT IS_DIRECTORY "${full_btf}")
      message(FATAL_ERROR
        "cut BTF from EBPF_BTF_DIRECTORY=${EBPF_BTF_DIRECTORY}: it is no folder. "
        "Name one with DISTRIBUTION/VERSION/RELEASE.btf in it, or leave the variable out.")
    endif()
    file(GLOB_RECURSE full_files CONFIGURE_DEPENDS
         "${full_btf}/*.btf" "${full_btf}/*.btf.xz" "${full_btf}/*.btf.tar.xz")
    # The objects of both architectures ask for the same; what a kernel lacks is left out.
    set(objects ${products})
    list(FILTER objects INCLUDE REGEX "\\.bpf\\.o$")
    set(bundle "${output}/minimal-btf.tar.xz")
    add_custom_command(
      OUTPUT "${bundle}" "${bundle}.sha256"
      COMMAND "${Python_EXECUTABLE}" "${EBPF_CODEGEN_DIR}/ebpf_codegen/__main__.py"
              min-btf ${objects} --btf "${full_btf}" -o "${bundle}"
      DEPENDS ${objects} ${full_files} ${generator}
      COMMENT "Cutting BTF"
      VERBATIM)
    list(APPEND products "${bundle}" "${bundle}.sha256")
    list(APPEND installed "${bundle}" "${bundle}.sha256")
  endif()

  string(MAKE_C_IDENTIFIER "${arg_PACKAGE}" target)
  add_custom_target("${target}_probes" ALL DEPENDS ${products})
  # By itself CMake takes a file that is newer by less than a second for the one that is there.
  install(CODE "set(ENV{CMAKE_INSTALL_ALWAYS} 1)")
  install(FILES ${installed} DESTINATION "${arg_PACKAGE}")
endfunction()
