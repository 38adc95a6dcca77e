"""From a picture to detections: engines that run the network, and the predictor around them."""
