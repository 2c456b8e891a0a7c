find_library(rapidcheck_library rapidcheck REQUIRED)
target_link_libraries(data_tests PRIVATE ${rapidcheck_library})
