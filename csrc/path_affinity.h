// Affinities from a boundary map. See path_affinity.cpp.
#pragma once

#include <cstdint>

namespace icd {

struct PathShape {
    int64_t height, width;  // of the boundary map
    int64_t floor;          // rows left out below, columns left out on either side: the reach of the paths
    int64_t directions;
};

// Path d consists of the points path_start[d] .. path_start[d + 1] of `points` (dy, dx), 0 <= dy <= floor, |dx| <= floor.
// Writes `affinities` (directions, height - floor, width - 2 floor).
void path_affinities(const float* boundary, const int32_t* points, const int64_t* path_start, const PathShape& shape,
                     int threads, float* affinities);

}  // namespace icd
