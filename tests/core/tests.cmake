# The layout of the code is clang-format's; other versions than Debian 12's lay some lines out differently.
add_test(NAME core.format COMMAND ${CMAKE_SOURCE_DIR}/scripts/format.sh --check)
set_tests_properties(core.format PROPERTIES TIMEOUT 120 SKIP_RETURN_CODE 77)
