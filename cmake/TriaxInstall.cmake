# `cmake --install`: the program, the libraries with their headers, configurations, completions, docs;
# find_package(triax) for projects that link triax::triax; `cpack` for Debian packages.

include(GNUInstallDirs)
include(CMakePackageConfigHelpers)
set(TRIAX_CMAKE_DIR "${CMAKE_INSTALL_LIBDIR}/cmake/triax")

# ---- the program, and what belongs to it

install(TARGETS triax RUNTIME DESTINATION "${CMAKE_INSTALL_BINDIR}" COMPONENT runtime)
install(DIRECTORY configs/ DESTINATION "${CMAKE_INSTALL_DATADIR}/triax/configs" COMPONENT runtime
        FILES_MATCHING PATTERN "*.toml")
install(DIRECTORY docs/ DESTINATION "${CMAKE_INSTALL_DOCDIR}" COMPONENT runtime FILES_MATCHING PATTERN "*.md")
install(FILES LICENSE DESTINATION "${CMAKE_INSTALL_DOCDIR}" RENAME copyright COMPONENT runtime)

if(NOT CMAKE_CROSSCOMPILING AND NOT TRIAX_SANITIZE)  # the program writes its own completions
  set(completions)
  foreach(shell bash zsh fish)
    set(file "${CMAKE_BINARY_DIR}/completions/triax.${shell}")
    add_custom_command(OUTPUT "${file}" DEPENDS triax VERBATIM
      COMMAND "${CMAKE_COMMAND}" -E make_directory "${CMAKE_BINARY_DIR}/completions"
      COMMAND triax completion ${shell} > "${file}")
    list(APPEND completions "${file}")
  endforeach()
  add_custom_target(triax_completions ALL DEPENDS ${completions})
  install(FILES "${CMAKE_BINARY_DIR}/completions/triax.bash" RENAME triax COMPONENT runtime
          DESTINATION "${CMAKE_INSTALL_DATADIR}/bash-completion/completions")
  install(FILES "${CMAKE_BINARY_DIR}/completions/triax.fish" COMPONENT runtime
          DESTINATION "${CMAKE_INSTALL_DATADIR}/fish/vendor_completions.d")
  # zsh looks in other folders for what the distribution installs (/usr) than for the rest.
  install(CODE "
    set(folder site-functions)
    if(CMAKE_INSTALL_PREFIX STREQUAL \"/usr\")
      set(folder vendor-completions)
    endif()
    file(INSTALL \"${CMAKE_BINARY_DIR}/completions/triax.zsh\" RENAME _triax
         DESTINATION \"\${CMAKE_INSTALL_PREFIX}/${CMAKE_INSTALL_DATADIR}/zsh/\${folder}\")"
    COMPONENT runtime)
endif()

# ---- the libraries: every module is a target triax::triax_NAME, and triax::triax is all of them

get_property(modules GLOBAL PROPERTY TRIAX_MODULES)
add_library(triax_all INTERFACE)
set_target_properties(triax_all PROPERTIES EXPORT_NAME triax)
target_link_libraries(triax_all INTERFACE ${modules})
target_compile_features(triax_all INTERFACE cxx_std_20)
install(TARGETS triax_all ${modules} EXPORT triaxTargets
        ARCHIVE DESTINATION "${CMAKE_INSTALL_LIBDIR}" COMPONENT development)
install(EXPORT triaxTargets NAMESPACE triax:: DESTINATION "${TRIAX_CMAKE_DIR}" COMPONENT development)
install(DIRECTORY src/triax DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}" COMPONENT development
        FILES_MATCHING PATTERN "*.h" PATTERN cli EXCLUDE PATTERN cpu EXCLUDE PATTERN cuda EXCLUDE)

# Static libraries pass on what they link: whoever links them finds it as this build did.
file(WRITE "${CMAKE_BINARY_DIR}/triaxConfig.cmake"
  "set(TRIAX_TESTS OFF)\nset(TRIAX_BENCH OFF)\n"
  "if(${TRIAX_HAS_CUDA})\n  find_package(CUDAToolkit REQUIRED)\nendif()\n"
  "include(\"\${CMAKE_CURRENT_LIST_DIR}/TriaxDependencies.cmake\")\n"
  "include(\"\${CMAKE_CURRENT_LIST_DIR}/triaxTargets.cmake\")\n")
write_basic_package_version_file("${CMAKE_BINARY_DIR}/triaxConfigVersion.cmake" COMPATIBILITY SameMinorVersion)
install(FILES "${CMAKE_BINARY_DIR}/triaxConfig.cmake" "${CMAKE_BINARY_DIR}/triaxConfigVersion.cmake"
              "${PROJECT_SOURCE_DIR}/cmake/TriaxDependencies.cmake"
        DESTINATION "${TRIAX_CMAKE_DIR}" COMPONENT development)

# ---- Debian packages: triax (the program) and libtriax-dev (to build on it); `cpack` in the build folder

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME triax)
set(CPACK_PACKAGE_CONTACT "The triax developers <triax@localhost>")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_COMPONENTS_ALL runtime development)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION science)
set(CPACK_DEBIAN_RUNTIME_PACKAGE_NAME triax)
set(CPACK_DEBIAN_RUNTIME_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_RUNTIME_PACKAGE_RECOMMENDS "openmpi-bin")
set(CPACK_COMPONENT_RUNTIME_DESCRIPTION "${PROJECT_DESCRIPTION}")
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_NAME libtriax-dev)
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_SECTION libdevel)
set(CPACK_COMPONENT_DEVELOPMENT_DESCRIPTION "Static libraries and headers of triax")
string(CONCAT CPACK_DEBIAN_DEVELOPMENT_PACKAGE_DEPENDS
  "libdnnl-dev, libhwy-dev, libfmt-dev, libspdlog-dev, libtomlplusplus-dev, libcli11-dev, libsimdjson-dev, "
  "nlohmann-json3-dev, libicu-dev, libzstd-dev, zlib1g-dev, libxxhash-dev, libsentencepiece-dev, pkg-config, libopenmpi-dev")
include(CPack)
