// Path-index affinities (IRN, CVPR 2019, spec 3.2): a(s, d) = 1 - max over the points q of the path to d of B(s + q).
//
// The sources of one direction are whole rows, and a path point shifts all of them alike. So a row of affinities is a running
// maximum over shifted rows of the boundary map: no index array, vector code throughout.
// Cost: O(sources * points of all paths); no memory besides the result.
#include "path_affinity.h"

#include <algorithm>

#include "parallel.h"

namespace icd {

void path_affinities(const float* boundary, const int32_t* points, const int64_t* path_start, const PathShape& shape,
                     int threads, float* affinities) {
    const int64_t rows = shape.height - shape.floor, columns = shape.width - 2 * shape.floor;
    parallel_for(shape.directions * rows, threads, 64, [&](int64_t begin, int64_t end) {
        for (int64_t job = begin; job < end; ++job) {
            const int64_t direction = job / rows, y = job % rows;
            float* highest = affinities + job * columns;
            for (int64_t i = path_start[direction]; i < path_start[direction + 1]; ++i) {
                const float* from = boundary + (y + points[2 * i]) * shape.width + shape.floor + points[2 * i + 1];
                if (i == path_start[direction]) std::copy_n(from, columns, highest);
                for (int64_t x = 0; x < columns; ++x) highest[x] = from[x] > highest[x] ? from[x] : highest[x];
            }
            for (int64_t x = 0; x < columns; ++x) highest[x] = 1.0f - highest[x];
        }
    });
}

}  // namespace icd
