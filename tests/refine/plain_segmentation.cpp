// The graph-based segmentation written down step by step, with the standard library's sort: what the fast library must give.
// Reads pictures from standard input (int32 height, width, min_size, float k, then the pixels), writes int32 labels.
// With the argument "sort" it instead checks the library's Introsort against std::sort, also on sequences made to be bad for it.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <numeric>
#include <random>
#include <vector>

#include "introsort.h"

#ifndef __GLIBCXX__
#error "needs GNU libstdc++, whose unstable sort defines the order of ties"
#endif

struct Edge {
    float weight;
    int a, b;
};

static std::vector<int> parent, size_of;
static int root(int node) {
    while (parent[node] != node) node = parent[node];
    return node;
}
static int join(int a, int b) {
    if (size_of[a] < size_of[b]) std::swap(a, b);
    parent[b] = a;
    size_of[a] += size_of[b];
    return a;
}

static std::vector<float> blurred(const std::vector<float>& in, int h, int w, bool horizontal) {
    float taps[5], sum = 0;
    for (int i = 0; i < 5; ++i) {
        const float ratio = i / 0.8f;
        taps[i] = (float)std::exp(-0.5 * (double)(ratio * ratio));
        if (i > 0) sum += taps[i];
    }
    sum = 2 * sum + taps[0];
    for (float& tap : taps) tap /= sum;
    std::vector<float> out(in.size());
    for (int y = 0; y < h; ++y)
        for (int x = 0; x < w; ++x) {
            float value = taps[0] * in[y * w + x];
            for (int i = 1; i < 5; ++i) {
                const float before = horizontal ? in[y * w + std::max(x - i, 0)] : in[std::max(y - i, 0) * w + x];
                const float after = horizontal ? in[y * w + std::min(x + i, w - 1)] : in[std::min(y + i, h - 1) * w + x];
                value += taps[i] * (before + after);
            }
            out[y * w + x] = value;
        }
    return out;
}

static std::vector<int32_t> segment(const std::vector<uint8_t>& rgb, int h, int w, float k, int min_size) {
    std::vector<float> plane[3];
    for (int c = 0; c < 3; ++c) {
        for (int i = 0; i < h * w; ++i) plane[c].push_back(rgb[3 * i + c]);
        plane[c] = blurred(blurred(plane[c], h, w, true), h, w, false);
    }
    std::vector<Edge> edges;
    const int steps[4][2] = {{0, 1}, {1, 0}, {1, 1}, {-1, 1}};
    for (int y = 0; y < h; ++y)
        for (int x = 0; x < w; ++x)
            for (const auto& step : steps) {
                const int yy = y + step[0], xx = x + step[1];
                if (yy < 0 || yy >= h || xx >= w) continue;
                float square = 0;
                for (const auto& values : plane) {
                    const float difference = values[y * w + x] - values[yy * w + xx];
                    square += difference * difference;
                }
                edges.push_back({std::sqrt(square), y * w + x, yy * w + xx});
            }
    std::sort(edges.begin(), edges.end(), [](const Edge& a, const Edge& b) { return a.weight < b.weight; });
    parent.resize(h * w);
    std::iota(parent.begin(), parent.end(), 0);
    size_of.assign(h * w, 1);
    std::vector<float> threshold(h * w, k);
    for (const Edge& edge : edges) {
        const int a = root(edge.a), b = root(edge.b);
        if (a != b && edge.weight <= threshold[a] && edge.weight <= threshold[b]) {
            const int joined = join(a, b);
            threshold[joined] = edge.weight + k / size_of[joined];
        }
    }
    for (const Edge& edge : edges) {
        const int a = root(edge.a), b = root(edge.b);
        if (a != b && (size_of[a] < min_size || size_of[b] < min_size)) join(a, b);
    }
    std::vector<int32_t> labels, number(h * w, -1);
    int next = 0;
    for (int i = 0; i < h * w; ++i) {
        int32_t& own = number[root(i)];
        if (own < 0) own = next++;
        labels.push_back(own);
    }
    return labels;
}

static bool same_sort(std::vector<uint64_t> records) {
    std::vector<uint64_t> expected = records;
    std::sort(expected.begin(), expected.end(), [](uint64_t a, uint64_t b) { return a >> 32 < b >> 32; });
    superpixel::Introsort::sort(records.data(), records.data() + records.size());
    return records == expected;
}

// A sequence on which std::sort's quicksort degenerates (McIlroy, "A killer adversary for quicksort", 1999).
static std::vector<uint64_t> killer(int count) {
    std::vector<int> value(count, count), order(count);
    std::iota(order.begin(), order.end(), 0);
    int solid = 0, candidate = 0;
    std::sort(order.begin(), order.end(), [&](int a, int b) {
        if (value[a] == count && value[b] == count) value[a == candidate ? a : b] = solid++;
        if (value[a] == count) candidate = a;
        else if (value[b] == count) candidate = b;
        return value[a] < value[b];
    });
    std::vector<uint64_t> records;
    for (int i = 0; i < count; ++i) records.push_back((uint64_t)(value[i] / 2) << 32 | i);
    return records;
}

static int check_sorts() {
    std::mt19937 random(1);
    for (const int count : {0, 1, 2, 15, 16, 17, 18, 100, 1000, 20000})
        for (const uint32_t values : {1u, 2u, 7u, 1000u, 4000000000u}) {
            std::vector<uint64_t> records;
            for (int i = 0; i < count; ++i) records.push_back((uint64_t)(random() % values) << 32 | i);
            if (!same_sort(records)) return 1;
        }
    for (const int count : {50, 1000, 5000})
        if (!same_sort(killer(count))) return 2;
    return 0;
}

int main(int argc, char** argv) {
    if (argc == 2 && std::strcmp(argv[1], "sort") == 0) return check_sorts();
    int32_t header[3];
    float k;
    while (std::fread(header, sizeof header, 1, stdin) == 1 && std::fread(&k, sizeof k, 1, stdin) == 1) {
        std::vector<uint8_t> rgb(3 * header[0] * header[1]);
        if (std::fread(rgb.data(), 1, rgb.size(), stdin) != rgb.size()) return 3;
        const std::vector<int32_t> labels = segment(rgb, header[0], header[1], k, header[2]);
        std::fwrite(labels.data(), sizeof(int32_t), labels.size(), stdout);
    }
    return 0;
}
