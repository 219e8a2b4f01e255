"""Handedness head: predicts whether a crop shows a hand of the network's side. Exported in one
graph with the network.
"""

import torch
from torch import nn

DROP_FEATURES, DROP_HIDDEN = 0.3, 0.3  # dropout; prevents memorising the crop features


class HandednessHead(nn.Module):
    """Predict the handedness logit of a crop from its pose.

    Given a left hand, a network of right hands still predicts a right one as well as it can: with
    less closeness, and with fingers bent the wrong way, a thumb too short, a palm too flat. The
    difference of the logits of a crop and of its mirror image is the log odds that the crop shows a
    hand of the network's side; a single logit has no meaning.
    """

    def __init__(self, joints: int, crop_features: int, hidden: int, refined: bool = False) -> None:
        """joints: number of joints; crop_features: number of crop features; hidden: units of the
        hidden layer; refined: whether it is given the refined joints as well as the voted ones.
        """
        super().__init__()
        self.refined = refined
        self.norm = nn.Sequential(
            nn.BatchNorm1d(crop_features, affine=False), nn.Dropout(DROP_FEATURES)
        )
        self.layers = nn.Sequential(
            nn.Linear((8 if refined else 4) * joints + 1 + crop_features, hidden),
            nn.ReLU(),
            nn.Dropout(DROP_HIDDEN),
            nn.Linear(hidden, 1),
        )

    def forward(
        self,
        voted_uvdn: torch.Tensor,
        closeness: torch.Tensor,
        hand_logit: torch.Tensor,
        crop_features: torch.Tensor,
        joints_uvdn: torch.Tensor,
        joint_scores: torch.Tensor,
    ) -> torch.Tensor:
        """Return the logits (B,). voted_uvdn, joints_uvdn: (B,J,3) before and after the refiner;
        closeness, joint_scores: (B,J) [0,1] likewise; hand_logit: (B,); crop_features: (B,C).
        """
        # All scaled to about unit variance.
        features = [
            3 * _shape(voted_uvdn),
            8 * (closeness - 0.8),
            hand_logit.clamp(-14, 14)[:, None] / 5,
            self.norm(crop_features),
        ]
        if self.refined:
            features += [3 * _shape(joints_uvdn), 4 * (joint_scores - 0.5)]
        return self.layers(torch.cat(features, 1))[:, 0]


def _shape(joints_uvdn):
    """Return the joints (B,3J) about their mean."""
    return (joints_uvdn - joints_uvdn.mean(1, keepdim=True)).flatten(1)
