#pragma once
#include <string_view>
#include <utility>
#include <vector>

#include "data/jinja_library.h"

namespace phalanx::data::jinja {

/// Filters on lists and dicts: first, join, map, selectattr, sort, ...
const std::vector<std::pair<std::string_view, FilterFunction>>& sequence_filters();

}  // namespace phalanx::data::jinja
