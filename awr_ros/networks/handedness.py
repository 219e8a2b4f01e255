"""Which side a hand is, judged by what was read: beside the network, in one graph with it."""

import torch
from torch import nn

DROP_FEATURES, DROP_HIDDEN = 0.3, 0.3  # while it learns, or it would know the summaries by heart


class HandednessHead(nn.Module):
    """How much a reading looks like a hand of the network's own side.

    A network of right hands reads a left hand as a right one as well as it can: with less
    closeness, and with fingers bent the wrong way, a thumb too short, a palm too flat. The
    difference of two handedness_logits, of a crop and of its mirror image, is the log odds that the
    crop shows a hand of the network's side; one alone says nothing.
    """

    def __init__(self, joints, crop_features, hidden):
        """joints: how many the network knows; summary: numbers of its summary of a crop; hidden:
        units of the hidden layer.
        """
        super().__init__()
        self.norm = nn.Sequential(
            nn.BatchNorm1d(crop_features, affine=False), nn.Dropout(DROP_FEATURES)
        )
        self.layers = nn.Sequential(
            nn.Linear(4 * joints + 1 + crop_features, hidden),
            nn.ReLU(),
            nn.Dropout(DROP_HIDDEN),
            nn.Linear(hidden, 1),
        )

    def forward(self, joints_uvdn, joint_scores, hand_logit, crop_features):
        """joints_uvdn: (B,J,3); joint_scores: (B,J) [0,1]; hand_logit: (B,); summary: (B,C).
        Returns (B,).
        """
        shape = (joints_uvdn - joints_uvdn.mean(1, keepdim=True)).flatten(1)  # (B,3J)
        # About unit size all of them.
        features = torch.cat(
            [
                3 * shape,
                8 * (joint_scores - 0.8),
                hand_logit.clamp(-14, 14)[:, None] / 5,
                self.norm(crop_features),
            ],
            1,
        )
        return self.layers(features)[:, 0]
