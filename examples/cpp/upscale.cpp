// Enlarges a picture with a network that `basicsr export` wrote: upscale MODEL IN.ppm OUT.ppm [DEVICE]
//
// Files of OpenVINO (.xml) and of ONNX are read. Their input is (N, 3, H, W) and their output (N, 3, sH, sW), RGB in
// [0, 1], of any size.

#include <algorithm>
#include <cmath>
#include <exception>
#include <iostream>
#include <stdexcept>
#include <string>

#include <openvino/openvino.hpp>

#include "picture.hpp"

// Returns the network of a file, taking 8-bit pictures (N, H, W, 3) and giving 32-bit floats (N, 3, sH, sW).
ov::CompiledModel load(const std::string& path, const std::string& device) {
    ov::Core core;
    auto model = core.read_model(path);
    const ov::PartialShape shape = model->input().get_partial_shape();
    if (model->inputs().size() != 1 || shape.rank() != 4 || shape[1] != 3) {
        throw std::runtime_error(path + ": expected a network of color pictures, input (N, 3, H, W). Export one.");
    }
    ov::preprocess::PrePostProcessor steps(model);
    steps.input().tensor().set_element_type(ov::element::u8).set_layout("NHWC");
    steps.input().preprocess().convert_element_type(ov::element::f32).scale(255.0F);
    steps.input().model().set_layout("NCHW");
    steps.output().tensor().set_element_type(ov::element::f32);
    return core.compile_model(
        steps.build(), device,
        // As Python does unless bf16 is asked for.
        ov::hint::inference_precision(ov::element::f32));
}

Picture enlarge(ov::CompiledModel& network, Picture& picture) {
    auto request = network.create_infer_request();
    request.set_input_tensor(
        ov::Tensor(ov::element::u8, {1, picture.height, picture.width, 3}, picture.pixels.data()));
    request.infer();
    const ov::Tensor result = request.get_output_tensor();
    const float* values = result.data<float>();
    const ov::Shape shape = result.get_shape();

    Picture large;
    large.height = shape[2];
    large.width = shape[3];
    large.pixels.resize(large.height * large.width * 3);
    const std::size_t plane = large.height * large.width;
    for (std::size_t place = 0; place < plane; ++place) {
        for (std::size_t channel = 0; channel < 3; ++channel) {
            const float value = std::clamp(values[channel * plane + place], 0.0F, 1.0F);
            large.pixels[place * 3 + channel] = static_cast<std::uint8_t>(std::lround(value * 255.0F));
        }
    }
    return large;
}

int main(int count, char** arguments) {
    if (count != 4 && count != 5) {
        std::cerr << "upscale MODEL.xml|MODEL.onnx IN.ppm OUT.ppm [CPU|GPU|AUTO]\n";
        return 2;
    }
    try {
        Picture picture = read_ppm(arguments[2]);
        auto network = load(arguments[1], count == 5 ? arguments[4] : "CPU");
        const Picture large = enlarge(network, picture);
        write_ppm(arguments[3], large);
        std::cout << arguments[3] << ": " << large.width << "x" << large.height << "\n";
    } catch (const std::exception& error) {
        std::cerr << error.what() << "\n";
        return 1;
    }
    return 0;
}
