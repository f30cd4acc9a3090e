#include "picture.hpp"

#include <fstream>
#include <istream>
#include <limits>
#include <stdexcept>

namespace {

constexpr std::size_t kMostPixels = 500'000'000;

// Returns the next number of the header; comments run from # to the end of the line.
std::size_t next_number(std::istream& file, const std::string& path) {
    while (file >> std::ws && file.peek() == '#') {
        file.ignore(std::numeric_limits<std::streamsize>::max(), '\n');
    }
    std::size_t number = 0;
    if (!(file >> number)) {
        throw std::runtime_error(path + ": expected a binary PPM (P6), got a header without a number. Convert the picture.");
    }
    return number;
}

}  // namespace

Picture read_ppm(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    if (!file) {
        throw std::runtime_error(path + ": expected a picture, got no readable file. Check the name.");
    }
    std::string kind(2, ' ');
    file.read(kind.data(), 2);
    if (kind != "P6") {
        throw std::runtime_error(path + ": expected a binary PPM (P6). Convert it: convert photo.jpg photo.ppm");
    }
    Picture picture;
    picture.width = next_number(file, path);
    picture.height = next_number(file, path);
    if (next_number(file, path) != 255) {
        throw std::runtime_error(path + ": expected 8 bits per channel. Convert it: convert photo.png -depth 8 photo.ppm");
    }
    if (picture.width == 0 || picture.height == 0 || picture.width > kMostPixels / picture.height) {
        throw std::runtime_error(path + ": expected 1 to 500 million pixels. Check the file.");
    }
    file.get();  // one blank ends the header
    picture.pixels.resize(picture.height * picture.width * 3);
    file.read(reinterpret_cast<char*>(picture.pixels.data()), static_cast<std::streamsize>(picture.pixels.size()));
    if (static_cast<std::size_t>(file.gcount()) != picture.pixels.size()) {
        throw std::runtime_error(path + ": expected more pixels than the file holds: it was cut off. Make it again.");
    }
    return picture;
}

void write_ppm(const std::string& path, const Picture& picture) {
    std::ofstream file(path, std::ios::binary);
    file << "P6\n" << picture.width << ' ' << picture.height << "\n255\n";
    file.write(reinterpret_cast<const char*>(picture.pixels.data()), static_cast<std::streamsize>(picture.pixels.size()));
    if (!file.flush()) {
        throw std::runtime_error(path + ": cannot be written. Check the folder and the free space.");
    }
}
