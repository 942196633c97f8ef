"""Search of an archive by keypoints: where a picture lies, and which scenes are alike."""
