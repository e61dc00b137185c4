# hanse_simt_tests: the kernels of src/cuda on the emulator of tests/cuda/emulator.
file(GLOB emulator_sources CONFIGURE_DEPENDS tests/cuda/emulator/*.cpp tests/cuda/emulated/*.cpp
  tests/cuda/*.cpp)
list(FILTER emulator_sources EXCLUDE REGEX "/loaded_device\\.cpp$")
file(GLOB_RECURSE kernel_sources CONFIGURE_DEPENDS RELATIVE ${CMAKE_SOURCE_DIR}/src/cuda src/cuda/*.cu)
add_executable(hanse_simt_tests ${emulator_sources})
# The emulated device as a plug-in, for tests of what loads one: HANSE_CUDA_PLUGIN names it.
file(GLOB plugin_sources CONFIGURE_DEPENDS tests/cuda/emulator/*.cpp)
add_library(hanse_emulated MODULE EXCLUDE_FROM_ALL ${plugin_sources})
foreach(source IN LISTS kernel_sources)
  # A file that includes the source: the same file can't be CUDA in one target and C++ in another.
  string(REPLACE "/" "_" name ${source})
  set(reading ${CMAKE_BINARY_DIR}/emulated/${name}.cpp)
  file(CONFIGURE OUTPUT ${reading} CONTENT "#include \"${source}\"\n")
  target_sources(hanse_simt_tests PRIVATE ${reading})
  target_sources(hanse_emulated PRIVATE ${reading})
  # Under a sanitizer that is what sees each access; else the emulator does, by the calls that this
  # switch makes the compiler put before each. The library of that sanitizer is not linked.
  if(HANSE_SANITIZE STREQUAL "thread")
    # That sanitizer itself sees them, told of fibers and barriers (emulator/witness.hpp).
  elseif(HANSE_SANITIZE)
    set_property(SOURCE ${reading} APPEND PROPERTY COMPILE_OPTIONS -fsanitize-sections=simt_shared)
  else()
    set_property(SOURCE ${reading} APPEND PROPERTY COMPILE_OPTIONS -fsanitize=thread)
  endif()
  set_property(SOURCE ${reading} APPEND PROPERTY COMPILE_OPTIONS -ffp-contract=off
    -Wno-unknown-pragmas)
endforeach()
if(HANSE_SANITIZE STREQUAL "thread")
  # It sees the kernels alone: what the emulator does between them is one thread's work.
  set_property(SOURCE ${emulator_sources} APPEND PROPERTY COMPILE_OPTIONS -fno-sanitize=thread)
  set_property(SOURCE ${emulator_sources} APPEND PROPERTY
    COMPILE_DEFINITIONS HANSE_SIMT_TSAN HANSE_SIMT_UNSEEN)
endif()
target_include_directories(hanse_emulated PRIVATE src/cpp src/cuda tests/cuda/emulator)
target_include_directories(hanse_simt_tests PRIVATE src/cuda tests/cuda tests/cuda/emulator)
target_link_libraries(hanse_simt_tests PRIVATE hanse_core GTest::gtest_main)
target_compile_options(hanse_simt_tests PRIVATE -Wall -Wextra $<$<BOOL:${HANSE_WERROR}>:-Werror>)
gtest_discover_tests(hanse_simt_tests DISCOVERY_TIMEOUT 60)
