#pragma once
#include <stddef.h>

// What columnar_records.cpp and the module phalanx_arrow.so know of each other. Apache Arrow's libraries
// bring their own copies of libraries that this program links in other versions (simdjson), so they are
// loaded apart, when the first such file is opened, and nothing but these C functions passes the border.
extern "C" {

/// A reader of rows; null if the file cannot be read. `error` (of `error_bytes`) then holds one line that
/// says why.
typedef void* (*PhxColumnsOpen)(const char* path, int is_parquet, char* error, size_t error_bytes);
/// 1: the next row as JSON in [*text, *text + *size), valid until the next call · 2: a row that is no record,
/// with the reason in `error` · 0: the end · -1: the file cannot be read on, with the reason in `error`.
typedef int (*PhxColumnsNext)(void* reader, const char** text, size_t* size, char* error, size_t error_bytes);
typedef void (*PhxColumnsClose)(void* reader);
}
