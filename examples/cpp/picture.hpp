#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

// A picture of 8 bits per channel: rows from the top, RGB side by side.
struct Picture {
    std::size_t height = 0;
    std::size_t width = 0;
    std::vector<std::uint8_t> pixels;  // height * width * 3
};

// Reads and writes binary PPM files (P6), which every image program converts. Both throw std::runtime_error.
Picture read_ppm(const std::string& path);
void write_ppm(const std::string& path, const Picture& picture);
