# How everything here is compiled, and the two functions that declare a module and its tests.

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}")

if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "Release, Debug, RelWithDebInfo" FORCE)
endif()

find_program(TRIAX_CCACHE ccache)
if(TRIAX_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_CXX_COMPILER_LAUNCHER "${TRIAX_CCACHE}")
endif()

add_library(triax_flags INTERFACE)
target_link_libraries(triax_flags INTERFACE OpenMP::OpenMP_CXX)
target_compile_options(triax_flags INTERFACE -Wall -Wextra -Wshadow -Wnon-virtual-dtor -fno-math-errno)
if(CMAKE_CXX_COMPILER_ID STREQUAL GNU AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
  target_compile_options(triax_flags INTERFACE  # false alarms on std::string (GCC bugs 105329, 105651)
    -Wno-restrict -Wno-array-bounds -Wno-stringop-overflow -Wno-stringop-overread)
endif()
if(TRIAX_UNITY AND CMAKE_CXX_COMPILER_ID STREQUAL GNU)
  target_compile_options(triax_flags INTERFACE -Wno-subobject-linkage)  # a source that is included is no header
endif()
if(TRIAX_WERROR)
  target_compile_options(triax_flags INTERFACE -Werror)
endif()
if(TRIAX_SANITIZE)
  add_compile_options(-fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer -g1)
  add_link_options(-fsanitize=address,undefined)
endif()

# The headers that most sources include, compiled once; sources name what they use all the same.
function(triax_common_header)
  file(WRITE "${CMAKE_CURRENT_BINARY_DIR}/common_header.cpp" "")
  add_library(triax_common_header OBJECT "${CMAKE_CURRENT_BINARY_DIR}/common_header.cpp")
  target_link_libraries(triax_common_header PRIVATE triax_flags fmt::fmt)
  target_precompile_headers(triax_common_header PRIVATE
    <algorithm> <array> <atomic> <cmath> <cstdint> <cstring> <filesystem> <functional> <limits> <map> <memory> <numeric>
    <optional> <span> <string> <string_view> <unordered_map> <utility> <vector> <fmt/format.h> <fmt/ranges.h>)
endfunction()

# Sources of one folder as one, so names in unnamed namespaces are unique within a folder. Left alone: kernels/cpu,
# whose sources Highway includes once for each instruction set.
# Where nothing is optimised, reading headers is most of the work: larger batches.
function(triax_unity target)
  set(batch 6)
  if(TRIAX_SANITIZE)
    set(batch 16)
  endif()
  set_target_properties(${target} PROPERTIES UNITY_BUILD ${TRIAX_UNITY} UNITY_BUILD_BATCH_SIZE ${batch})
endfunction()

# triax_module(NAME [APART] [DEPENDS modules...] [LIBS targets...])
#
# One static library `triax_NAME` from every .cpp of the calling folder and its sub-folders. DEPENDS
# names other modules, always lower in the list of src/triax/CMakeLists.txt; LIBS names outside
# libraries, which are never visible in our public headers and so stay private. APART: see triax_unity().
function(triax_module name)
  cmake_parse_arguments(ARG "APART" "" "DEPENDS;LIBS" ${ARGN})
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS "${CMAKE_CURRENT_SOURCE_DIR}/*.cpp")
  add_library(triax_${name} STATIC ${sources})
  target_include_directories(triax_${name} PUBLIC
    "$<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/src>" "$<INSTALL_INTERFACE:include>")
  target_link_libraries(triax_${name} PRIVATE $<BUILD_INTERFACE:triax_flags> ${ARG_LIBS})
  target_precompile_headers(triax_${name} REUSE_FROM triax_common_header)
  if(NOT ARG_APART)
    triax_unity(triax_${name})
  endif()
  foreach(dependency IN LISTS ARG_DEPENDS)
    target_link_libraries(triax_${name} PUBLIC triax_${dependency})
  endforeach()
  set_property(GLOBAL APPEND PROPERTY TRIAX_MODULES triax_${name})
endfunction()

# Tests are compiled once and run once: what they test is optimised, they themselves need not be.
set(TRIAX_TEST_OPTIONS -O0)

# triax_test(NAME [APART] [GPU] [LIBS targets...])
#
# One GoogleTest program `test_NAME` from every *_test.cpp of the calling folder; each TEST is a
# ctest test of its own, labelled NAME; with GPU those whose name begins with Gpu are labelled gpu.
function(triax_test name)
  cmake_parse_arguments(ARG "APART;GPU" "" "LIBS" ${ARGN})
  file(GLOB sources CONFIGURE_DEPENDS "${CMAKE_CURRENT_SOURCE_DIR}/*.cpp")
  if(NOT sources)
    return()
  endif()
  add_executable(test_${name} ${sources})
  target_include_directories(test_${name} PRIVATE "${PROJECT_SOURCE_DIR}/tests")
  target_compile_definitions(test_${name} PRIVATE
    TRIAX_TEST_DATA="${CMAKE_CURRENT_SOURCE_DIR}/data" TRIAX_SOURCE_DIR="${PROJECT_SOURCE_DIR}"
    TRIAX_BINARY="${CMAKE_BINARY_DIR}/triax")
  target_link_libraries(test_${name} PRIVATE triax_flags ${ARG_LIBS} GTest::gtest GTest::gtest_main)
  target_precompile_headers(test_${name} REUSE_FROM triax_test_header)
  if(NOT ARG_APART)
    triax_unity(test_${name})
  endif()
  set_target_properties(test_${name} PROPERTIES POSITION_INDEPENDENT_CODE OFF)
  target_compile_options(test_${name} PRIVATE ${TRIAX_TEST_OPTIONS})
  set(discovery TEST_PREFIX "${name}." DISCOVERY_TIMEOUT 60 DISCOVERY_MODE PRE_TEST)
  if(NOT ARG_GPU)
    gtest_discover_tests(test_${name} ${discovery} PROPERTIES LABELS ${name} TIMEOUT 300)
    return()
  endif()
  gtest_discover_tests(test_${name} ${discovery} TEST_FILTER "-Gpu*" TEST_LIST ${name}_tests
                       PROPERTIES LABELS ${name} TIMEOUT 300)
  gtest_discover_tests(test_${name} ${discovery} TEST_FILTER "Gpu*" TEST_LIST ${name}_gpu_tests
                       PROPERTIES LABELS gpu TIMEOUT 300)
endfunction()
